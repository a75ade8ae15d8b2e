"""The configuration as frozen values: what every key means, its unit, and its default. Defaults live here only.

What one table says is checked here; what several tables say together is checked in `gateway.config.assembly`. Relative
paths are relative to the directory in which the gateway runs.
"""

import socket
import ssl
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from gateway.config.values import (
    Authenticator,
    Bind,
    ExtensionKeyword,
    Hostname,
    HostPort,
    Networks,
    PasswordPath,
    ReadableFile,
    RecipientPattern,
    ReferralUrl,
    TcpBind,
)

__all__ = ["Authentication", "Gateway", "Limits", "Listener", "ReplyMetadata", "Route", "Tls"]

# RFC 2033 §5: LMTP must not be spoken on the port of SMTP.
_SMTP_PORT = 25
# RFC 2033 §5: an LMTP server must offer both.
_LMTP_EXTENSIONS = ("ENHANCEDSTATUSCODES", "PIPELINING")

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]


class Section(BaseModel):
    """A table of the configuration."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Gateway(Section):
    """The gateway as a whole."""

    hostname: Annotated[
        Hostname,
        Field(
            description="The name in greetings and in trace fields, a domain name. By default the system's own name.",
            default_factory=socket.getfqdn,
            validate_default=True,
        ),
    ]
    spool: Annotated[
        Path,
        Field(
            description="The directory that holds spooled mail, dead letters, and large content while it is received. "
            "It belongs to one gateway and must be on a local file system. Of several workers the first one's spool is "
            "this directory itself, and those of the others are in it: `worker-1`, `worker-2`, …"
        ),
    ] = Path("spool")
    workers: Annotated[
        int,
        Field(
            ge=1,
            le=64,
            description="How many processes take and deliver mail, each with a spool of its own: at most as many as "
            "there are processor cores. Mails of one ordering key are delivered in order by the same worker only.",
        ),
    ] = 1
    keys: Annotated[
        Path | None,
        Field(
            description="The key directory, written by `mailsluice keys`: with a `receipt` key in it, receipts are "
            "signed for clients that ask for it. Without it nothing is signed."
        ),
    ] = None
    spool_min_free_percent: Annotated[
        float,
        Field(
            ge=0,
            lt=100,
            description="Mail is refused for the moment (452 4.3.1) while less than this share of the spool's file "
            "system, or of its inodes, is free; in any case where one and a half of the largest messages do not fit.",
        ),
    ] = 10.0
    drain_seconds: Annotated[
        float,
        Field(
            gt=0,
            description="After SIGTERM: how long mail that is under way may take to be answered, spooled mail that is "
            "being delivered to be settled, and connectors to close, all together.",
        ),
    ] = 30.0


class Tls(Section):
    """How a listener speaks TLS: `[listener.tls]`. Without this table it does not."""

    mode: Annotated[
        Literal["starttls", "implicit"],
        Field(description="`starttls` offers the upgrade (RFC 3207); `implicit` speaks TLS from the first octet."),
    ] = "starttls"
    certificate_file: Annotated[
        ReadableFile, Field(description="The certificate chain in PEM, the listener's own certificate first.")
    ]
    key_file: Annotated[ReadableFile, Field(description="The certificate's private key in PEM, not encrypted.")]
    required: Annotated[bool, Field(description="Refuse mail on a session that has not begun TLS.")] = False

    @field_validator("key_file")
    @classmethod
    def _fits_certificate(cls, key_file: Path, info: ValidationInfo) -> Path:
        certificate_file = info.data.get("certificate_file")
        if certificate_file is not None:
            _server_context(certificate_file, key_file)
        return key_file

    def context(self) -> ssl.SSLContext:
        """A context for the server's side. Raises ValueError when the files are no longer usable."""
        return _server_context(self.certificate_file, self.key_file)


class Authentication(Section):
    """Who may log in: `[listener.authentication]`. Without this table AUTH is not offered."""

    password_file: Annotated[
        PasswordPath | None,
        Field(description="A file with one line per user, each written by `mailsluice password`."),
    ] = None
    authenticator: Annotated[
        Authenticator | None,
        Field(
            description="In place of a password file, a Python callable `package.module:callable` that follows "
            "aiosmtpd's authenticator convention.",
            validate_default=True,
        ),
    ] = None
    required: Annotated[bool, Field(description="Refuse mail from a client that has not logged in.")] = False
    allow_without_tls: Annotated[
        bool,
        Field(description="Offer AUTH on sessions without TLS too, where anyone on the way can read the password."),
    ] = False

    @field_validator("authenticator")
    @classmethod
    def _one_source(cls, authenticator: object, info: ValidationInfo) -> object:
        if "password_file" in info.data and (authenticator is None) == (info.data["password_file"] is None):
            raise ValueError("passwords are looked up in one place; give either password_file or authenticator")
        return authenticator


class Limits(Section):
    """What one listener puts up with: `[listener.limits]`."""

    max_connections: Annotated[
        int,
        Field(
            ge=1,
            description="Sessions at one time; more are answered 421. Of several workers each takes an equal share, "
            "rounded up.",
        ),
    ] = 1_000
    max_connections_per_client: Annotated[
        int,
        Field(
            ge=1,
            description="Sessions at one time from one IP address; more are answered 421. Each of several workers "
            "counts its own.",
        ),
    ] = 100
    # RFC 5321 §4.5.3.1.8: fewer than 100 must not be refused.
    max_recipients: Annotated[
        int, Field(ge=100, description="Recipients of one transaction; more are answered 452.")
    ] = 1_000
    max_errors: Annotated[
        int, Field(ge=1, description="Commands answered with an error before the session is closed with 421.")
    ] = 20
    max_junk_commands: Annotated[
        int,
        Field(
            ge=1,
            description="Commands that do no work (NOOP, VRFY, …) between two mails before the session is closed.",
        ),
    ] = 100
    # RFC 5321 §4.5.3.1.4: 512 octets must be taken.
    max_command_octets: Annotated[
        int, Field(ge=512, description="The longest command line, CRLF included; longer where an extension needs it.")
    ] = 2_048
    max_chunks: Annotated[int, Field(ge=1, description="BDAT and BMTD chunks of one transaction.")] = 100_000
    max_containers: Annotated[int, Field(ge=1, description="Metadata containers of one transaction.")] = 64
    max_container_bytes: Annotated[int, Field(ge=2, description="The largest metadata container, type included.")] = (
        1_048_576
    )
    max_metadata_bytes: Annotated[int, Field(ge=2, description="All metadata containers of one transaction.")] = (
        4_194_304
    )
    idle_seconds: Annotated[
        float, Field(gt=0, description="How long the client may be silent before the session is closed.")
    ] = 300.0
    min_octets_per_second: Annotated[
        int, Field(ge=1, description="The slowest rate at which a client may send content, on average.")
    ] = 500


class ReplyMetadata(Section):
    """Which clients may have replies with response codes (XREPLYMETA): `reply_metadata`. By default none."""

    receipts: Annotated[
        Networks,
        Field(description="Clients that may learn where their mail lies: topics, partitions, keys, paths, versions."),
    ] = ()
    maildata: Annotated[
        Networks,
        Field(
            description="Clients that get tokens about stored content, and may show those of other gateways. That "
            "needs a connector with `single_instance`, and a `maildata` key in `gateway.keys`."
        ),
    ] = ()
    stoken: Annotated[
        Networks,
        Field(
            description="Clients that may submit by token (STOKEN). That needs LMTP, TLS, authentication, and a "
            "`stoken` key in `gateway.keys`."
        ),
    ] = ()
    referral: Annotated[
        Networks,
        Field(
            description="Clients that may be referred to other servers, by routes with `refer`. They learn whom there "
            "is, and where."
        ),
    ] = ()


class Listener(Section):
    """One address where mail comes in."""

    name: Annotated[Name, Field(description="The name by which logs and envelopes refer to it.")]
    protocol: Annotated[Literal["smtp", "lmtp"], Field(description="SMTP (RFC 5321) or LMTP (RFC 2033).")]
    bind: Annotated[
        Bind,
        Field(description="Where to listen: `host:port`, `[2001:db8::1]:port` or `unix:/path`."),
    ]
    # RFC 5321 §4.5.3.1.7: at least 64 KiB must be taken.
    max_message_bytes: Annotated[
        int,
        Field(
            ge=65_536, description="The largest message, metadata included, announced by SIZE and enforced with 552."
        ),
    ] = 36_700_160
    disable_extensions: Annotated[
        tuple[ExtensionKeyword, ...],
        Field(description="EHLO keywords that are not offered, for example `METADATA`."),
    ] = ()
    bmtd_order: Annotated[
        Literal["any", "before-content"],
        Field(description="Whether BMTD may come after BDAT in a transaction, or only before it."),
    ] = "any"
    trusted_networks: Annotated[
        Networks,
        Field(
            description="Clients whose metadata is believed: any IMAP flag, and trace fields that claim to be our own. "
            "Here and in the other lists of networks `unix` stands for the clients of a Unix socket."
        ),
    ] = ()
    proxy_protocol_networks: Annotated[
        Networks,
        Field(
            description="Proxies that must begin each connection with a PROXY protocol header, version 1 or 2. From "
            "other addresses such a header is an error."
        ),
    ] = ()
    reply_metadata: Annotated[
        ReplyMetadata,
        Field(
            description="Clients that may ask for response codes in replies, by kind of code. Without it XREPLYMETA is "
            "not offered."
        ),
    ] = ReplyMetadata()
    tls: Annotated[Tls | None, Field(description="How the listener speaks TLS; without this table it does not.")] = None
    authentication: Annotated[
        Authentication | None, Field(description="Who may log in; without this table AUTH is not offered.")
    ] = None
    limits: Annotated[Limits, Field(description="What the listener puts up with.")] = Limits()

    @field_validator("bind")
    @classmethod
    def _not_lmtp_on_port_25(cls, bind: Bind, info: ValidationInfo) -> Bind:
        if info.data.get("protocol") == "lmtp" and isinstance(bind, TcpBind) and bind.port == _SMTP_PORT:
            raise ValueError(
                "LMTP must not use port 25 (RFC 2033 §5); choose another port, such as 24, or a Unix socket"
            )
        return bind

    @field_validator("disable_extensions")
    @classmethod
    def _not_what_lmtp_needs(cls, keywords: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        for keyword in _LMTP_EXTENSIONS:
            if keyword in keywords and info.data.get("protocol") == "lmtp":
                raise ValueError(f"LMTP must offer {keyword} (RFC 2033 §5); leave it out here")
        return keywords


class Route(Section):
    """Where the mail of some recipients goes. For each recipient the first route that matches counts."""

    recipients: Annotated[
        tuple[RecipientPattern, ...],
        Field(
            min_length=1,
            description="One of these must match: `*`, `*@example.org`, `*@*.example.org` or `user@example.org`.",
        ),
    ]
    connectors: Annotated[
        tuple[str, ...],
        Field(
            min_length=1,
            description="Names of connectors; each gets the mail. A connector is in routes of one `accept` only. A "
            "route with `refer` may do without.",
        ),
    ] = ()
    accept: Annotated[
        Literal["delivered", "spooled"],
        Field(
            description="When the client gets its 250: `delivered`, once every connector holds the mail durably; "
            "`spooled`, once the spool does, from which every connector then gets it in its own time."
        ),
    ] = "delivered"
    bounce_via: Annotated[
        HostPort | None,
        Field(
            description="The SMTP server, `host:port`, that takes the notifications (RFC 3464) to the originators of "
            "spooled mail: what could not be delivered, and what was, where they asked. Without it there are none."
        ),
    ] = None
    refer: Annotated[
        ReferralUrl | None,
        Field(
            description="The server that takes the mail of these recipients, `smtp://host:port/` or "
            "`lmtp://host:port/`: clients that may be referred (`reply_metadata`) and ask for it are told this. From "
            "all others the connectors get the mail; without connectors they are answered 451. Nobody should be "
            "referred on from there."
        ),
    ] = None
    refer_style: Annotated[
        Literal["structured", "dovecot"],
        Field(
            description="`dovecot`: clients that may be referred and have not asked for response codes get Dovecot's "
            "`550 5.2.900 … Referral`. Anything but a Dovecot proxy takes that for a refusal."
        ),
    ] = "structured"

    @field_validator("connectors")
    @classmethod
    def _each_once(cls, connectors: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(connectors)) < len(connectors):
            raise ValueError("a connector is named twice; name each once")
        return connectors


def _server_context(certificate_file: Path, key_file: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # Without a password to give, an encrypted key would make OpenSSL ask on the terminal.
        context.load_cert_chain(certificate_file, key_file, password=lambda: b"")
    except OSError as error:
        # ssl.SSLError is an OSError; `reason` is OpenSSL's own word (KEY_VALUES_MISMATCH), where it has one.
        reason = error.reason if isinstance(error, ssl.SSLError) else error.strerror
        raise ValueError(
            f"TLS cannot be set up with {certificate_file} and {key_file}{f' ({reason})' if reason else ''}; "
            "both must be PEM and belong together, and the key must not be encrypted"
        ) from None
    return context
