"""What a listener is built from: values, made from the configuration where the program is put together."""

import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import AuthResult

from gateway.ingress.networks import Network
from gateway.ingress.reply_metadata import ReplyMetadata
from gateway.smtp import Dialect, ExtensionTable, Limits

__all__ = ["Authenticator", "ListenerSettings"]

Authenticator = Callable[[Any, Any, Any, str, Any], AuthResult]
"""aiosmtpd's convention: `(server, session, envelope, mechanism, LoginPassword) -> AuthResult`. It may block.

It raises OSError (ConnectionError and TimeoutError are such) when it cannot tell now; the client is then told to try
again later.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerSettings:
    """Everything about one listener except where it listens.

    `spool` is the directory for large content on its way. From `proxy_networks` every connection begins with a PROXY
    header. With `tls`, `implicit_tls` says whether TLS begins at once; otherwise STARTTLS is offered.
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
    reply_metadata: ReplyMetadata = field(default_factory=ReplyMetadata)
    max_connections: int = 1000
    max_connections_per_client: int = 100
    idle_seconds: float = 300.0
    min_octets_per_second: int = 500
