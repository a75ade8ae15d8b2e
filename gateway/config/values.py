"""The kinds of values in the configuration that have a grammar of their own, and a sentence for each wrong one."""

import importlib
import ipaddress
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, PlainSerializer, PlainValidator, WithJsonSchema

from gateway.config.sentences import did_you_mean
from gateway.delivery.routes import parse_pattern
from gateway.ingress import PasswordFile
from gateway.ingress.networks import UNIX, Network
from gateway.smtp.extensions import EXTENSIONS
from gateway.smtp.referral import Referral, ReferralSyntaxError, parse_referral
from gateway.sockets import TcpBind, UnixBind

__all__ = [
    "Authenticator",
    "Bind",
    "ExtensionKeyword",
    "HostPort",
    "Hostname",
    "Networks",
    "PasswordPath",
    "ReadableFile",
    "RecipientPattern",
    "ReferralUrl",
    "TcpBind",
    "UnixBind",
    "parse_bind",
]

# RFC 5321 §4.1.2, and RFC 1035 §2.3.4 for the lengths. Greetings are ASCII (RFC 6531 §3.7.1 leaves them so).
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOSTNAME = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*\Z")
_TCP_BIND = re.compile(r"(?:\[(?P<literal>[^\]]*)\]|(?P<host>[^:\[\]]+)):(?P<port>[0-9]{1,5})\Z")
# sun_path of Linux holds 108 octets with the closing NUL (unix(7)); other systems hold fewer.
_LONGEST_UNIX_PATH = 107
_KEYWORDS = tuple(sorted(extension.keyword for extension in EXTENSIONS))


def parse_bind(text: object) -> TcpBind | UnixBind:
    """The address that `host:port`, `[address]:port` or `unix:/path` names. Raises ValueError for anything else."""
    if isinstance(text, str) and text.startswith("unix:"):
        path = text.removeprefix("unix:")
        if not path or "\0" in path or len(path.encode()) > _LONGEST_UNIX_PATH:
            raise ValueError(f"the path of a Unix socket has 1 to {_LONGEST_UNIX_PATH} octets")
        return UnixBind(Path(path))
    match = _TCP_BIND.match(text) if isinstance(text, str) else None
    if match is None or int(match["port"]) > 65535:
        raise ValueError(f'{_shown(text)} is no address; write "host:port", "[2001:db8::1]:port" or "unix:/path"')
    if match["literal"] is None:
        return TcpBind(_hostname(match["host"]), int(match["port"]))
    try:
        return TcpBind(str(ipaddress.IPv6Address(match["literal"])), int(match["port"]))
    except ValueError:
        raise ValueError(f"[{match['literal']}] is no IPv6 address") from None


def _host_and_port(text: object) -> TcpBind:
    found = parse_bind(text)
    if isinstance(found, UnixBind) or not found.port:
        raise ValueError(f'{_shown(text)} is no server; write "host:port", such as "127.0.0.1:25"')
    return found


def _hostname(name: str) -> str:
    if not _HOSTNAME.match(name):
        raise ValueError(f'{_shown(name)} is no host name; write a domain name such as "mx.example.org"')
    return name


def _network(text: object) -> Network:
    if text == UNIX:
        return UNIX
    try:
        return ipaddress.ip_network(text if isinstance(text, str) else "")
    except ValueError:
        pass
    try:
        # Octets behind the prefix: most likely an address of the network that is meant.
        meant = ipaddress.ip_network(text if isinstance(text, str) else "", strict=False)
    except ValueError:
        raise ValueError(
            f'{_shown(text)} is no network; write one such as "192.0.2.0/24" or "2001:db8::/32", or "unix" for the '
            "clients of a Unix socket"
        ) from None
    raise ValueError(f'{_shown(text)} has bits set behind its prefix; write "{meant}"')


def _extension_keyword(text: str) -> str:
    keyword = text.upper()
    if keyword not in _KEYWORDS:
        raise ValueError(f"{_shown(text)} is no extension of this gateway{did_you_mean(keyword, _KEYWORDS)}")
    return keyword


def _readable(path: Path) -> Path:
    try:
        with path.open("rb"):
            return path
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None


def _password_file(path: Path) -> Path:
    try:
        PasswordFile(_readable(path))
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8; write it with `mailsluice password`") from None
    return path


def _recipient_pattern(text: str) -> str:
    parse_pattern(text)
    return text


def _referral(text: object) -> Referral:
    try:
        return parse_referral(text if isinstance(text, str) else "")
    except ReferralSyntaxError as error:
        # Without the text: a password that does not belong there would be shown.
        raise ValueError(f"this is no server to refer to; {error}") from None


def _authenticator(text: object) -> Callable[..., Any]:
    module, _, name = text.partition(":") if isinstance(text, str) else ("", "", "")
    if not all(part.isidentifier() for part in (*module.split("."), name)):
        raise ValueError(f'{_shown(text)} names no callable; write "package.module:callable"')
    try:
        found: object = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, SyntaxError, ValueError) as error:
        raise ValueError(f"{_shown(text)} cannot be imported: {error}") from None
    if callable(found):
        return found
    raise ValueError(f"{_shown(text)} is no callable")


def _shown(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else repr(value)


Hostname = Annotated[str, AfterValidator(_hostname)]
Bind = Annotated[
    TcpBind | UnixBind,
    PlainValidator(parse_bind),
    PlainSerializer(str),
    WithJsonSchema({"type": "string", "examples": ["127.0.0.1:2525", "[::1]:2525", "unix:/run/mailsluice/lmtp.sock"]}),
]
HostPort = Annotated[
    TcpBind,
    PlainValidator(_host_and_port),
    PlainSerializer(str),
    WithJsonSchema({"type": "string", "examples": ["127.0.0.1:25", "[2001:db8::1]:25", "mail.example.org:25"]}),
]
ExtensionKeyword = Annotated[
    str, AfterValidator(_extension_keyword), WithJsonSchema({"type": "string", "enum": list(_KEYWORDS)})
]
Networks = tuple[
    Annotated[
        Network,
        PlainValidator(_network),
        PlainSerializer(str),
        WithJsonSchema({"type": "string", "examples": ["192.0.2.0/24", "2001:db8::/32", "unix"]}),
    ],
    ...,
]
PasswordPath = Annotated[Path, AfterValidator(_password_file)]
RecipientPattern = Annotated[str, AfterValidator(_recipient_pattern)]
ReferralUrl = Annotated[
    Referral,
    PlainValidator(_referral),
    PlainSerializer(str),
    WithJsonSchema({"type": "string", "examples": ["lmtp://backend2.example.org:24/", "smtp://[2001:db8::5]:25/"]}),
]
ReadableFile = Annotated[Path, AfterValidator(_readable)]
Authenticator = Annotated[
    Callable[..., Any],
    PlainValidator(_authenticator),
    WithJsonSchema({"type": "string", "pattern": r"^[\w.]+:\w+$"}),
]
