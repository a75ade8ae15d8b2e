"""What a listener is built from: values, made from the configuration where the program is put together."""

import ipaddress
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import AuthResult

from gateway.envelope import Client
from gateway.ingress.receipt_codes import Coordinates
from gateway.maildata import ContentTokens
from gateway.receipts import Signer
from gateway.smtp import Dialect, ExtensionTable, Limits
from gateway.stoken import SubmissionTokens

__all__ = ["Authenticator", "ListenerSettings", "Network", "OfferedCodes", "codes_for", "is_in"]

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

Authenticator = Callable[[Any, Any, Any, str, Any], AuthResult]
"""aiosmtpd's convention: `(server, session, envelope, mechanism, LoginPassword) -> AuthResult`. It may block.

It raises OSError (ConnectionError and TimeoutError are such) when it cannot tell now; the client is then told to try
again later.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferedCodes:
    """The names of some response codes, and the networks whose clients may ask for them."""

    names: tuple[str, ...]
    networks: tuple[Network, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerSettings:
    """Everything about one listener except where it listens.

    `spool` is the directory for large content on its way. From `proxy_networks` every connection begins with a PROXY
    header. With `tls`, `implicit_tls` says whether TLS begins at once; otherwise STARTTLS is offered. `reply_codes` are
    the response codes that some clients are offered, `coordinates` how those of receipts are written, `signer` what
    signs them, where there is a key for it. `contents` makes and reads tokens about stored content,
    `submission` those of clients that submit by token.
    """

    name: str
    hostname: str
    dialect: Dialect
    extensions: ExtensionTable
    limits: Limits
    spool: Path
    tls: ssl.SSLContext | None = None
    implicit_tls: bool = False
    authenticator: Authenticator | None = None
    trusted_networks: tuple[Network, ...] = ()
    proxy_networks: tuple[Network, ...] = ()
    reply_codes: tuple[OfferedCodes, ...] = ()
    coordinates: Coordinates = field(default_factory=dict)
    signer: Signer | None = None
    contents: ContentTokens | None = None
    submission: SubmissionTokens | None = None
    max_connections: int = 1000
    max_connections_per_client: int = 100
    idle_seconds: float = 300.0
    min_octets_per_second: int = 500


def is_in(networks: tuple[Network, ...], client: Client) -> bool:
    """Whether the client's address is in one of the networks. A Unix socket's client is in none."""
    if not networks or client.address == "unix":
        return False
    address = ipaddress.ip_address(client.address.partition("%")[0])
    return any(address in network for network in networks)


def codes_for(settings: ListenerSettings, client: Client) -> tuple[str, ...]:
    """The names of the response codes that this client is offered."""
    return tuple(name for codes in settings.reply_codes if is_in(codes.networks, client) for name in codes.names)
