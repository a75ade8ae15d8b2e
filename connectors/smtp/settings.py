"""The keys of a `[[connector]]` table of type `smtp`."""

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field, FilePath, SecretStr

from gateway.connector import ConnectorSettings
from gateway.smtp.dialect import DIALECTS, Dialect
from gateway.smtp.grammar import CommandSyntaxError, hello_name
from gateway.sockets import TcpBind, UnixBind

__all__ = ["MAX_IN_FLIGHT", "SmtpSettings"]

MAX_IN_FLIGHT = 64

_UNIX = "unix:"
# RFC 1035 §2.3.4, and addresses; what a resolver makes of a name is its own business.
_HOST = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?\.?\Z")
# Names in which a `*` stands for any part of one label. What looks like an address is none.
_TARGET = re.compile(r"[A-Za-z0-9_*](?:[A-Za-z0-9_*.-]*[A-Za-z0-9_*])?\Z")
_NUMERIC = re.compile(r"[0-9.*]*[0-9][0-9.*]*\Z")
# sun_path of Linux holds 108 octets with the closing NUL (unix(7)).
_LONGEST_UNIX_PATH = 107


def _check_host(host: str) -> str:
    if host.startswith(_UNIX):
        path = host.removeprefix(_UNIX)
        if not path or "\0" in path or len(path.encode()) > _LONGEST_UNIX_PATH:
            raise ValueError(f"the path of a Unix socket has 1 to {_LONGEST_UNIX_PATH} octets")
    elif host and not _HOST.match(host) and _address(host) is None:
        raise ValueError(
            'write a host name, an IP address without brackets, or "unix:/path"; the port is a key of its own'
        )
    return host


def _check_target(text: str) -> str:
    try:
        ipaddress.ip_network(text)
    except ValueError:
        if not _TARGET.match(text) or ".." in text or _NUMERIC.match(text):
            raise ValueError('write a host name such as "backend*.example.org", or a network as "10.0.0.0/8"') from None
    return text


def _check_hello_name(name: str) -> str:
    try:
        if name:
            hello_name(name.encode("ascii"))
    except (UnicodeEncodeError, CommandSyntaxError):
        raise ValueError("a host says its domain name in ASCII, or an address literal such as [192.0.2.1]") from None
    return name


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


class SmtpSettings(ConnectorSettings):
    """The next mail server: one host, or the mail exchangers of each recipient's domain."""

    # An error text that quotes its input would show the password.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    type: Literal["smtp"] = "smtp"
    deadline_seconds: Annotated[
        float,
        Field(
            gt=0,
            le=540,
            description="How long one delivery may take before the client is told to try again later. Mail servers may "
            "take their time over the end of a mail; one that is left too early may have it twice.",
        ),
    ] = 300.0
    protocol: Annotated[
        Literal["smtp", "lmtp"],
        Field(description="`smtp` to relay, `lmtp` for final delivery into a mail store."),
    ] = "smtp"
    host: Annotated[
        str,
        AfterValidator(_check_host),
        Field(description="The server that takes every mail: a name or an address; for LMTP also `unix:/path`."),
    ] = ""
    mx: Annotated[
        bool, Field(description="Relay to the mail exchangers of each recipient's domain instead of to one host.")
    ] = False
    port: Annotated[
        int | None,
        Field(
            ge=1, le=65535, description="The server's port: 25 where none is set, 465 with implicit TLS, 24 for LMTP."
        ),
    ] = None
    tls: Annotated[
        Literal["none", "opportunistic", "required", "implicit"],
        Field(
            description="`opportunistic`: STARTTLS where it is offered, with any certificate. `required`: no mail "
            "without STARTTLS and a certificate that is valid for the host. `implicit`: the same, TLS from the start."
        ),
    ] = "opportunistic"
    tls_ca_file: Annotated[FilePath | None, Field(description="PEM certificates to trust instead of the system's.")] = (
        None
    )
    username: Annotated[str, Field(description="Log in as this user, by PLAIN or LOGIN.")] = ""
    password: Annotated[SecretStr, Field(description="The password of `username`.")] = SecretStr("")
    password_file: Annotated[FilePath | None, Field(description="A file that holds the password of `username`.")] = None
    hello_name: Annotated[
        str,
        AfterValidator(_check_hello_name),
        Field(description="What this host calls itself. Where it is not set: the gateway's host name."),
    ] = ""
    max_connections: Annotated[
        int, Field(ge=1, le=MAX_IN_FLIGHT, description="How many connections may be open; further mails wait.")
    ] = 20
    max_mails_per_connection: Annotated[
        int, Field(ge=1, le=10_000, description="After so many mails a connection is closed. 1: no reuse.")
    ] = 100
    idle_seconds: Annotated[
        float, Field(gt=0, le=300, description="How long a connection without a mail is kept for the next one.")
    ] = 10.0
    follow_referrals: Annotated[
        tuple[Annotated[str, AfterValidator(_check_target)], ...],
        Field(
            description="Where `host` may refer recipients to: names such as `backend*.example.org`, and networks such "
            "as `10.0.0.0/8`. Their mail then goes there, under the same TLS, without a login. By default nowhere."
        ),
    ] = ()
    referral_style: Annotated[
        Literal["structured", "dovecot"],
        Field(description="`structured`: referrals by response codes. `dovecot`: in Dovecot's form as well."),
    ] = "structured"

    @property
    def server(self) -> TcpBind | UnixBind:
        """The one server of all mails, where `mx` is not set."""
        if self.host.startswith(_UNIX):
            return UnixBind(Path(self.host.removeprefix(_UNIX)))
        return TcpBind(self.host, self.server_port)

    @property
    def server_port(self) -> int:
        """The port of the server, or of every mail exchanger."""
        return self.port or (24 if self.protocol == "lmtp" else 465 if self.tls == "implicit" else 25)

    @property
    def dialect(self) -> Dialect:
        """What is spoken with the server."""
        return DIALECTS[self.protocol]

    @property
    def verifies(self) -> bool:
        """Whether the server's certificate has to be valid for its name."""
        return self.tls in ("required", "implicit")

    def wrong_combinations(self) -> tuple[tuple[bool, str], ...]:
        passwords = bool(self.password) + bool(self.password_file)
        is_unix = self.host.startswith(_UNIX)
        return (
            (bool(self.host) == self.mx, "set host to the server that takes every mail, or mx = true, and not both"),
            (self.mx and self.protocol == "lmtp", "mail exchangers speak SMTP; LMTP needs a host (RFC 2033 §5)"),
            (
                self.mx and bool(self.follow_referrals),
                "mail exchangers of strangers refer nobody; follow_referrals needs a host",
            ),
            (
                "referral_style" in self.model_fields_set and not self.follow_referrals,
                "referral_style is for follow_referrals; leave it out",
            ),
            (is_unix and self.protocol == "smtp", "a Unix socket is for LMTP"),
            (is_unix and self.port is not None, "a Unix socket has no port"),
            (is_unix and self.verifies, "a Unix socket needs no TLS; leave tls out"),
            # RFC 2033 §5: LMTP must not be used on port 25.
            (self.protocol == "lmtp" and self.port == 25, "port 25 is for SMTP; an LMTP server has another, often 24"),
            (
                bool(self.username) != bool(passwords) or passwords > 1,
                "username goes with one of password and password_file",
            ),
            ("\0" in self.username, "a username has no NUL"),
            (bool(self.username) and self.mx, "mail exchangers of strangers get no password; leave username out"),
            (
                bool(self.username) and not self.verifies and not self._is_local,
                'a password goes under TLS only: set tls = "required" or "implicit"',
            ),
            (
                self.tls_ca_file is not None and not self.verifies,
                'tls_ca_file is for tls = "required" or "implicit": otherwise no certificate is looked at',
            ),
        )

    @property
    def _is_local(self) -> bool:
        address = _address(self.host)
        return self.host.startswith(_UNIX) or self.host == "localhost" or (address is not None and address.is_loopback)
