"""What the options of `mailsluice send` mean: texts become values, and everything wrong with one is one sentence."""

import ipaddress
import os
import ssl
from collections.abc import Sequence
from pathlib import Path

from msgspec import structs
from pydantic import TypeAdapter, ValidationError

from gateway.address import NULL_REVERSE_PATH, Address, AddressSyntaxError, parse_path
from gateway.cli.mail_file import MailFile, open_mail, with_crlf
from gateway.cli.send_session import Login, Tls
from gateway.config.values import Bind, TcpBind, UnixBind
from gateway.envelope import Container, Origin
from gateway.envelope.metadata import KEYWORDS, TRACE, keyword_view
from gateway.header_text import check_trace_fields
from gateway.smtp.grammar import encode_xtext
from gateway.smtp.outgoing import LocalProtocolError, OutgoingRecipient, check_parameter

__all__ = [
    "OptionError",
    "read_containers",
    "read_file",
    "read_login",
    "read_mail_parameters",
    "read_recipients",
    "read_reverse_path",
    "read_server",
    "read_tls",
]

PASSWORD_VARIABLE = "MAILSLUICE_AUTH_PASSWORD"  # noqa: S105  # the variable's name

# Far more than any server takes; a container is held in memory.
_LARGEST_FILE = 64 * 1024 * 1024
_LARGEST_TYPE = 65535


class OptionError(ValueError):
    """An option is wrong. The message is one sentence that says which, and what would be right."""


def read_server(text: str, option: str = "--server") -> TcpBind | UnixBind:
    """Where the server is, from `host:port` or `unix:path`."""
    try:
        server: TcpBind | UnixBind = TypeAdapter(Bind).validate_python(text)
    except ValidationError as error:
        reason = error.errors()[0]["ctx"]["error"]
        raise OptionError(f"{option}: {reason}") from None
    return server


def read_reverse_path(text: str) -> Address:
    """Whom the mail is from; nobody for an empty text."""
    return _address("--from", text) if _path(text) else NULL_REVERSE_PATH


def read_recipients(texts: Sequence[str], notify: str | None) -> tuple[OutgoingRecipient, ...]:
    """Whom the mail is for, each with the NOTIFY parameter if there is one (RFC 3461 §4.1)."""
    parameters = () if notify is None else (_parameter("--notify", "NOTIFY", notify.upper()),)
    return tuple(OutgoingRecipient(_address("--to", text), parameters) for text in texts)


def read_mail_parameters(
    reverse_path: Address,
    recipients: Sequence[OutgoingRecipient],
    *,
    ret: str | None,
    envid: str | None,
    receipts: bool,
) -> tuple[tuple[str, str], ...]:
    """The parameters of MAIL: RET and ENVID (RFC 3461), SMTPUTF8 where an address needs it (RFC 6531), XREPLYMETA."""
    parameters = []
    if ret is not None:
        parameters.append(("RET", ret.upper()))
    if envid is not None:
        parameters.append(_parameter("--envid", "ENVID", encode_xtext(os.fsencode(envid))))
    addresses = (reverse_path, *(recipient.address for recipient in recipients))
    if not all(address.raw.isascii() for address in addresses):
        parameters.append(("SMTPUTF8", ""))
    if receipts:
        parameters.append(("XREPLYMETA", ""))
    return tuple(parameters)


def read_containers(
    traces: Sequence[Path], keywords: Sequence[str], others: Sequence[str], *, binary: bool
) -> tuple[tuple[int, bytes], ...]:
    """The metadata containers, type and data: each trace, all keywords in one, then the others."""
    containers = [(TRACE, _trace(path, binary=binary)) for path in traces]
    if keywords:
        containers.append((KEYWORDS, b" ".join(map(_keyword, keywords))))
    return (*containers, *map(_container, others))


def read_file(path: Path, body: str, *, binary: bool) -> MailFile:
    """The mail, to be declared as `body`: 7bit, 8bitmime, binarymime, or auto for what it is. Raises MailFileError."""
    mail_file = open_mail(path, binary=binary)
    if body == "auto":
        return mail_file
    if mail_file.body == "BINARYMIME" != body.upper():
        mail_file.content.close()
        raise OptionError(f"--body {body}: {path} has line ends that are not CRLF; leave out --binary or --body")
    return structs.replace(mail_file, body=body.upper())


def read_tls(mode: str, server: TcpBind | UnixBind, ca_file: Path | None, *, insecure: bool) -> Tls | None:
    """How TLS is done; None where it is not."""
    if mode == "none":
        if ca_file is not None or insecure:
            raise OptionError("--ca-file and --insecure are about TLS; add --tls starttls or --tls implicit")
        return None
    if isinstance(server, UnixBind):
        raise OptionError("a Unix socket has no TLS; leave out --tls")
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        # ssl.SSLError is an OSError without a text for the user.
        reason = "it holds no certificate in PEM" if isinstance(error, ssl.SSLError) else error.strerror
        raise OptionError(f"--ca-file {ca_file}: {reason}") from None
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return Tls(context=context, implicit=mode == "implicit", hostname=server.host)


def read_login(
    user: str | None, password_file: Path | None, server: TcpBind | UnixBind, tls: Tls | None
) -> Login | None:
    """Whom to log in as; None for nobody. The password comes from the file, or from the environment."""
    if user is None:
        if password_file is not None:
            raise OptionError("--auth-password-file needs --auth-user")
        return None
    if tls is None and not _is_local(server):
        raise OptionError("a password is not sent in clear over a network; add --tls starttls or --tls implicit")
    if password_file is None:
        password = os.environ.get(PASSWORD_VARIABLE, "")
    else:
        lines = _octets("--auth-password-file", password_file).decode("utf-8", "surrogateescape").splitlines()
        password = lines[0] if lines else ""
    if not password:
        raise OptionError(f"there is no password for --auth-user; use --auth-password-file or set {PASSWORD_VARIABLE}")
    try:
        (user + password).encode()
    except UnicodeEncodeError:
        raise OptionError("--auth-user: the user and the password must be UTF-8 (RFC 4616 §2)") from None
    return Login(user=user, password=password)


def _path(text: str) -> str:
    return text[1:-1] if text.startswith("<") and text.endswith(">") else text


def _address(option: str, text: str) -> Address:
    path = _path(text)
    if not path:
        raise OptionError(f"{option}: an address is missing")
    try:
        return parse_path(os.fsencode(path), utf8=True)
    except AddressSyntaxError as error:
        raise OptionError(f'{option} "{text}": {error}') from None


def _parameter(option: str, keyword: str, value: str) -> tuple[str, str]:
    try:
        check_parameter(keyword, value)
    except LocalProtocolError as error:
        raise OptionError(f"{option}: {error}") from None
    return keyword, value


def _trace(path: Path, *, binary: bool) -> bytes:
    octets = _octets("--trace", path)
    data = octets if binary else with_crlf(octets, path)
    if fault := check_trace_fields(data):
        raise OptionError(f"--trace {path}: {fault}; --container 0:{path} sends it all the same")
    return data


def _keyword(text: str) -> bytes:
    octets = os.fsencode(text)
    container = Container(index=0, type=KEYWORDS, origin=Origin.RECEIVED, data=octets)
    if keyword_view([container], trusted=True) != (text,):
        raise OptionError(f'--keyword "{text}": this is no IMAP keyword that a mail can have (RFC 3501 §2.3.2)')
    return octets


def _container(text: str) -> tuple[int, bytes]:
    type_text, colon, path = text.partition(":")
    try:
        type_ = int(type_text, 16 if type_text.lower().startswith("0x") else 10)
    except ValueError:
        type_ = -1
    if not colon or not path or not 0 <= type_ <= _LARGEST_TYPE:
        raise OptionError(f'--container "{text}": write TYPE:FILE, the type as a number from 0 to {_LARGEST_TYPE}')
    return type_, _octets("--container", Path(path))


def _octets(option: str, path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            octets = file.read(_LARGEST_FILE + 1)
    except OSError as error:
        raise OptionError(f"{option} {path}: {error.strerror or error}") from None
    if len(octets) > _LARGEST_FILE:
        raise OptionError(f"{option} {path}: the file is larger than {_LARGEST_FILE} octets")
    return octets


def _is_local(server: TcpBind | UnixBind) -> bool:
    if isinstance(server, UnixBind) or server.host == "localhost":
        return True
    try:
        return ipaddress.ip_address(server.host).is_loopback
    except ValueError:
        return False
