"""`mailsluice send`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, NoReturn

import typer

__all__ = ["send"]


class TlsMode(StrEnum):
    """When TLS begins."""

    NONE = "none"
    STARTTLS = "starttls"
    IMPLICIT = "implicit"


class BodyType(StrEnum):
    """The BODY parameter of MAIL (RFC 6152, RFC 3030 §3); `auto` looks at the content."""

    AUTO = "auto"
    SEVEN_BIT = "7bit"
    EIGHT_BIT = "8bitmime"
    BINARY = "binarymime"


class Returned(StrEnum):
    """The RET parameter of MAIL (RFC 3461 §4.3)."""

    FULL = "full"
    HEADERS = "hdrs"


_SMTP_SERVER = "127.0.0.1:2525"
_LMTP_SERVER = "127.0.0.1:2424"

_TRUST = "; --ca-file says whom to trust, --insecure trusts anybody"

# What to do where a server does not offer an extension that the options need.
_WAYS_ROUND = {
    "8BITMIME": "the mail has 8-bit octets; --body 7bit sends them all the same",
    "AUTH": "leave out --auth-user, or add --tls where it is offered under TLS only",
    "BINARYMIME": "without --binary, line ends become CRLF",
    "CHUNKING": "leave out --bdat and --binary",
    "DSN": "leave out --notify, --ret and --envid",
    "METADATA": "leave out --trace, --keyword and --container",
    "SMTPUTF8": "only ASCII addresses can go there",
    "STARTTLS": "use --tls implicit, or none",
    "XREPLYMETA": "leave out --receipts, or let the server's reply_metadata.receipts name this host's network",
}

# The panels of the help text.
_METADATA = "Metadata"
_CONNECTION = "Connection"
_ENVELOPE = "Envelope"


def send(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The mail, header and all; - for standard input.")],
    *,
    to: Annotated[
        list[str],
        typer.Option("--to", metavar="ADDRESS", help="A recipient; repeat it for more.", rich_help_panel=_ENVELOPE),
    ],
    sender: Annotated[
        str,
        typer.Option(
            "--from", metavar="ADDRESS", help='The reverse-path; "" for the null one.', rich_help_panel=_ENVELOPE
        ),
    ],
    server: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="The server, or unix:PATH. By default 127.0.0.1:2525, with --lmtp 127.0.0.1:2424.",
            rich_help_panel=_CONNECTION,
        ),
    ] = None,
    lmtp: Annotated[
        bool, typer.Option("--lmtp", help="Speak LMTP: one answer per recipient.", rich_help_panel=_CONNECTION)
    ] = False,
    tls: Annotated[TlsMode, typer.Option(help="When TLS begins.", rich_help_panel=_CONNECTION)] = TlsMode.NONE,
    ca_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Trust the certificates in this file (PEM) instead of the system's.",
            rich_help_panel=_CONNECTION,
        ),
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Take any certificate from the server.", rich_help_panel=_CONNECTION)
    ] = False,
    auth_user: Annotated[str | None, typer.Option(metavar="NAME", help="Log in.", rich_help_panel=_CONNECTION)] = None,
    auth_password_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The password, as the first line of a file. Without this it is taken from the environment variable "
            "MAILSLUICE_AUTH_PASSWORD.",
            rich_help_panel=_CONNECTION,
        ),
    ] = None,
    helo: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="This host's name in the hello.", rich_help_panel=_CONNECTION),
    ] = None,
    bdat: Annotated[
        bool | None,
        typer.Option(
            "--bdat/--data",
            help="Send the content by BDAT, or by DATA. By default BDAT where the server offers it.",
            show_default=False,
        ),
    ] = None,
    chunk_size: Annotated[int, typer.Option(metavar="OCTETS", min=1, help="How much goes in one BDAT.")] = 1024 * 1024,
    binary: Annotated[
        bool,
        typer.Option(
            "--binary",
            help="Leave the file's line ends as they are. Without this each LF becomes CRLF, as mail has it.",
        ),
    ] = False,
    body: Annotated[
        BodyType, typer.Option(help="What to declare the content to be; auto looks at it.")
    ] = BodyType.AUTO,
    trace: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="Trace header fields, sent as a metadata container of type 0; repeat it for more containers.",
            rich_help_panel=_METADATA,
        ),
    ] = None,
    keyword: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FLAG",
            help="An IMAP keyword such as '$Forwarded'; all of them go in one container of type 1.",
            rich_help_panel=_METADATA,
        ),
    ] = None,
    container: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TYPE:FILE",
            help="A container of any type, decimal or 0x…, with a file's octets as they are. Containers are sent in "
            "the order --trace, --keyword, --container; for another order say all by --container.",
            rich_help_panel=_METADATA,
        ),
    ] = None,
    notify: Annotated[
        str | None,
        typer.Option(
            metavar="WORDS",
            help="Ask for delivery status notifications: never, or some of success,failure,delay.",
            rich_help_panel=_ENVELOPE,
        ),
    ] = None,
    ret: Annotated[
        Returned | None, typer.Option(help="What a notification returns of the mail.", rich_help_panel=_ENVELOPE)
    ] = None,
    envid: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="An identifier that notifications quote.", rich_help_panel=_ENVELOPE),
    ] = None,
    receipts: Annotated[
        bool,
        typer.Option("--receipts", help="Ask where the server's destinations put the mail, and print it as a table."),
    ] = False,
) -> None:
    """Send one mail by SMTP or LMTP, with metadata where the server takes it, and print every reply.

    Exit status: 0 when every recipient was accepted, 1 when not, 2 when the command line is wrong.
    """
    import asyncio
    import socket
    from contextlib import ExitStack

    from gateway.cli import send_options as options
    from gateway.cli.mail_file import MailFileError
    from gateway.cli.receipt_table import receipt_lines
    from gateway.cli.send_session import Refused, Submission, submit
    from gateway.cli.terminal import printable
    from gateway.relay.wire import ConnectionFailed, Untrusted
    from gateway.smtp import LMTP, SMTP
    from gateway.smtp.client import ClientConnection
    from gateway.smtp.outgoing import LocalProtocolError, NotOffered, OutgoingMail

    with ExitStack() as opened:
        try:
            dialect = LMTP if lmtp else SMTP
            connection = ClientConnection(dialect, hello_name=helo or socket.gethostname(), trusted=receipts)
            where = options.read_server(server or (_LMTP_SERVER if lmtp else _SMTP_SERVER))
            with_tls = options.read_tls(tls, where, ca_file, insecure=insecure)
            login = options.read_login(auth_user, auth_password_file, where, with_tls)
            reverse_path = options.read_reverse_path(sender)
            recipients = options.read_recipients(to, notify)
            parameters = options.read_mail_parameters(reverse_path, recipients, ret=ret, envid=envid, receipts=receipts)
            containers = options.read_containers(trace or (), keyword or (), container or (), binary=binary)
            # Last, for it may have to wait for standard input.
            mail_file = options.read_file(file, body, binary=binary)
            opened.callback(mail_file.content.close)
            mail = OutgoingMail(
                reverse_path=reverse_path,
                recipients=recipients,
                content=mail_file.content,
                parameters=parameters,
                containers=containers,
                body=mail_file.body,
                chunked=bdat is not False,
                chunk_octets=chunk_size,
            )
        except (options.OptionError, MailFileError, LocalProtocolError) as error:
            _fail(str(error), status=2)
        submission = Submission(server=where, mail=mail, tls=with_tls, login=login, chunking_required=bdat is True)
        try:
            outcomes = asyncio.run(submit(connection, submission))
        except NotOffered as error:
            _fail(f"{error}; {_WAYS_ROUND[error.what.split()[0]]}", status=1)
        except (ConnectionFailed, Refused, LocalProtocolError) as error:
            _fail(f"{error}{_TRUST if isinstance(error, Untrusted) else ''}", status=1)
        except BrokenPipeError:
            raise  # whoever reads this command's output has had enough
        except OSError as error:
            _fail(f"{file} can no longer be read: {error.strerror or error}", status=1)
    if receipts:
        for line in receipt_lines(outcomes):
            typer.echo(line)
    refused = [outcome for outcome in outcomes if not outcome.reply.is_positive]
    for outcome in refused:
        typer.echo(printable(f"mailsluice: not accepted for <{outcome.recipient}>: {outcome.reply}"), err=True)
    if refused:
        raise typer.Exit(1)


def _fail(sentence: str, *, status: int) -> NoReturn:
    typer.echo(f"mailsluice: {sentence}", err=True)
    raise typer.Exit(status)
