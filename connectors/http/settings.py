"""The keys of a `[[connector]]` table of type `http`."""

import ipaddress
import re
from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field, FilePath, SecretStr

from connectors.http.signature import decode_secret
from gateway.connector import ConnectorSettings

__all__ = ["BEARER_TOKEN", "MAX_IN_FLIGHT", "HttpSettings"]

MAX_IN_FLIGHT = 64

# RFC 3986 §3.2, the scheme in any case. A host is an IPv6 address or a name, with labels of up to 63 characters and no
# more than 253 in all (RFC 1035 §2.3.4): resolvers choke on others.
_AUTHORITY = re.compile(
    r"https?://(?P<credentials>[^/?#@]*@)?"
    r"(?:\[(?P<ipv6>[0-9A-F:.]+)\]|(?![A-Z0-9_.-]{254})[A-Z0-9_-]{1,63}(?:\.[A-Z0-9_-]{1,63})*\.?)"
    r"(?::(?P<port>[0-9]{1,5}))?(?:[/?#]|\Z)",
    re.IGNORECASE,
)
# RFC 9110 §5.6.2 and §5.5: a field name is a token, a value visible ASCII with white space inside. \Z: `$` lets LF by.
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
_VALUE = re.compile(r"[!-~](?:[ -~]*[!-~])?\Z")
BEARER_TOKEN = re.compile(r"[!-~]+\Z")
# What the connector sets itself, and what would change how the request is framed or routed.
_RESERVED = re.compile(
    r"(?:accept|accept-encoding|authorization|bmtd-.*|ce-.*|connection|content-.*|expect|host|http2-settings|keep-alive"
    r"|mail-.*|proxy-.*|te|trailer|transfer-encoding|upgrade|user-agent|webhook-.*)\Z",
    re.IGNORECASE,
)


def _check_url(url: str) -> str:
    # No secret may stand in a text that is shown, so the URL is not quoted here.
    if not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError("the URL has characters that a URL cannot have; write them as %XX, and a host name as xn--…")
    match = _AUTHORITY.match(url)
    if match is None or not (_is_ipv6(match["ipv6"] or "::1") and 0 < int(match["port"] or 80) < 65536):
        raise ValueError("the URL has to begin with http:// or https:// and a host")
    if match["credentials"]:
        raise ValueError("credentials do not belong in the URL; use username and password_file, or bearer_token_file")
    if "#" in url:
        raise ValueError("the URL has a fragment (#…), which is never sent; remove it")
    return url


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def _check_secret(secret: SecretStr) -> SecretStr:
    decode_secret(secret.get_secret_value())
    return secret


def _check_bearer_token(token: SecretStr) -> SecretStr:
    if not BEARER_TOKEN.match(token.get_secret_value()):
        raise ValueError("a bearer token is visible ASCII without spaces")
    return token


def _check_headers(headers: dict[str, SecretStr]) -> dict[str, SecretStr]:
    for name, value in headers.items():
        if not _NAME.match(name):
            raise ValueError(f"{name!r} cannot be the name of a header")
        if _RESERVED.match(name):
            raise ValueError(f"the header {name} is set by the connector and cannot be configured")
        if not _VALUE.match(value.get_secret_value()):
            raise ValueError(f"the value of the header {name} has to be printable ASCII without outer spaces")
    if len({name.lower() for name in headers}) != len(headers):
        raise ValueError("two headers have the same name; upper and lower case make no difference")
    return headers


class HttpSettings(ConnectorSettings):
    """A consumer that takes each mail as a signed POST request."""

    # An error text that quotes its input would show secrets.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    type: Literal["http"] = "http"
    url: Annotated[str, AfterValidator(_check_url), Field(description="Where to POST: an http or https URL.")]
    format: Annotated[
        Literal["cloudevents-binary", "cloudevents-structured", "raw", "multipart"],
        Field(
            description="`cloudevents-binary`: the envelope as JSON, content inside, event attributes in headers. "
            "`cloudevents-structured`: one JSON event. `raw`: the content as message/rfc822, the rest in headers. "
            "`multipart`: a form of the envelope, the content and each metadata container."
        ),
    ] = "cloudevents-binary"
    secrets: Annotated[
        tuple[Annotated[SecretStr, AfterValidator(_check_secret)], ...],
        Field(
            description="The signing secret, `whsec_` and the base64 of 24 to 64 random octets. Two while one replaces "
            "the other: each request then has a signature by both."
        ),
    ] = ()
    secret_files: Annotated[
        tuple[FilePath, ...], Field(description="Files that hold one signing secret each, instead of `secrets`.")
    ] = ()
    headers: Annotated[
        dict[str, SecretStr],
        AfterValidator(_check_headers),
        Field(description="Further headers of every request. The values are treated as secrets."),
    ] = Field(default_factory=dict)
    bearer_token: Annotated[
        SecretStr, AfterValidator(_check_bearer_token), Field(description="Sent as `Authorization: Bearer …`.")
    ] = SecretStr("")
    bearer_token_file: Annotated[FilePath | None, Field(description="A file that holds the bearer token.")] = None
    username: Annotated[str, Field(description="The user of `Authorization: Basic …`.")] = ""
    password: Annotated[SecretStr, Field(description="The password of `username`.")] = SecretStr("")
    password_file: Annotated[FilePath | None, Field(description="A file that holds the password of `username`.")] = None
    tls_ca_file: Annotated[
        FilePath | None, Field(description="PEM certificates to trust instead of the system's, for an https URL.")
    ] = None
    tls_cert_file: Annotated[
        FilePath | None, Field(description="The client certificate for mutual TLS, in PEM, with its chain.")
    ] = None
    tls_key_file: Annotated[
        FilePath | None,
        Field(description="The unencrypted private key of `tls_cert_file`, where it is in a file of its own."),
    ] = None
    timeout_seconds: Annotated[
        float,
        Field(gt=0, le=540, description="How long one request may take, from connecting to the end of the answer."),
    ] = 30.0
    max_connections: Annotated[
        int, Field(ge=1, le=MAX_IN_FLIGHT, description="How many requests may run at once; further mails wait.")
    ] = MAX_IN_FLIGHT
    inline_max_bytes: Annotated[
        int,
        Field(
            ge=0,
            le=256 * 1024 * 1024,
            description="The largest content that the two CloudEvents formats carry, in octets. They hold it in "
            "memory, in base64; `raw` and `multipart` stream it and know no limit.",
        ),
    ] = 35 * 1024 * 1024
    header_max_bytes: Annotated[
        int,
        Field(
            ge=1024,
            le=1024 * 1024,
            description="The most octets of headers that a mail may need; one that needs more is refused. In `raw` "
            "they grow with recipients and metadata. Servers take between 8 KiB and 64 KiB by default.",
        ),
    ] = 16 * 1024

    @property
    def is_https(self) -> bool:
        """Whether the URL asks for TLS."""
        return self.url.lower().startswith("https:")

    def wrong_combinations(self) -> tuple[tuple[bool, str], ...]:
        tokens = bool(self.bearer_token) + bool(self.bearer_token_file)
        passwords = bool(self.password) + bool(self.password_file)
        return (
            (
                not 1 <= len(self.secrets) + len(self.secret_files) <= 2,
                "requests are signed: set one secret in secrets or secret_files, or two while one replaces the other",
            ),
            (tokens > 1, "bearer_token and bearer_token_file exclude each other"),
            (
                bool(self.username) != bool(passwords) or passwords > 1,
                "username goes with one of password and password_file",
            ),
            # RFC 7617 §2: the first colon ends the user-id.
            (":" in self.username, "a username has no colon"),
            (
                bool(tokens and self.username),
                "a request has one Authorization: set either a bearer token or a username",
            ),
            (self.tls_key_file is not None and self.tls_cert_file is None, "tls_key_file goes with tls_cert_file"),
            (
                "timeout_seconds" in self.model_fields_set and self.timeout_seconds > self.deadline_seconds,
                "timeout_seconds may be deadline_seconds at most: after that nobody waits for the answer",
            ),
            (
                (self.tls_ca_file is not None or self.tls_cert_file is not None) and not self.is_https,
                "tls_ca_file and tls_cert_file are for a URL that begins with https:",
            ),
        )
