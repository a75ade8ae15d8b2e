"""The verbs of the base service (RFC 5321 §4.1.1, RFC 2033 §4.1): functions of the connection and the argument."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from gateway.address import Address, AddressSyntaxError, NonAsciiAddressError, parse_path
from gateway.smtp import grammar
from gateway.smtp.content import DotReader
from gateway.smtp.dialect import DIALECTS, Dialect
from gateway.smtp.events import MailReceived, RecipientReceived
from gateway.smtp.extension import Extension, Parameter, Verb
from gateway.smtp.refusals import (
    BARE_LINE_END,
    HELLO_FIRST,
    MAIL_FIRST,
    NO_RECIPIENTS,
    RCPT_FIRST,
    RESET_FIRST,
    TOO_BIG,
)
from gateway.smtp.reply import Reply
from gateway.smtp.state import Cause, State

if TYPE_CHECKING:
    from gateway.smtp.server import ServerConnection

__all__ = ["NOT_IMPLEMENTED", "VERBS"]

# RFC 5321 §4.2.4: recognised, so that the answer is 502 and not 500.
NOT_IMPLEMENTED = frozenset({b"BURL", b"EXPN", b"TURN"})

_OK = Reply.of(250, "2.0.0", "OK")
_START_CONTENT = Reply.of(354, "", "end the content with <CRLF>.<CRLF>")
_GOODBYE = Reply.of(221, "2.0.0", "goodbye")
_CANNOT_VERIFY = Reply.of(252, "2.5.0", "cannot verify, but will take the mail and try")
_NO_ARGUMENT = Reply.of(501, "5.5.4", "this command takes no argument")
_NESTED_MAIL = Reply.of(503, "5.5.1", "a transaction is open already")
_AFTER_CONTENT = Reply.of(503, "5.5.1", "too late, content has been sent")
_NO_LMTP_RECIPIENTS = Reply.of(503, "5.5.1", "no valid recipients")
_TOO_MANY_RECIPIENTS = Reply.of(452, "4.5.3", "too many recipients")
_UTF8_MAIL = Reply.of(550, "5.6.7", "a non-ASCII address needs SMTPUTF8")
_UTF8_RCPT = Reply.of(553, "5.6.7", "a non-ASCII address needs SMTPUTF8")

_BODY_DEFAULT = "7BIT"


class _ParameterNotKnownError(ValueError):
    """RFC 5321 §4.1.1.11: a parameter that is not recognised, or not offered in this session."""


def _hello(connection: "ServerConnection", argument: bytes) -> None:
    _greet_client(connection, argument, extended=False)


def _extended_hello(connection: "ServerConnection", argument: bytes) -> None:
    _greet_client(connection, argument, extended=True)


def _greet_client(connection: "ServerConnection", argument: bytes, *, extended: bool) -> None:
    try:
        name = grammar.hello_name(argument)
    except grammar.CommandSyntaxError as error:
        connection.respond(Reply.of(501, "5.5.4", str(error)))
        return
    again = bool(connection.hello)
    # RFC 5321 §4.1.4: a second hello acts as RSET (RFC 1869 §4.2 refused it; that is superseded).
    connection.reset_transaction()
    connection.introduce(name, extended=extended)
    # RFC 2034 §4: no enhanced status code on a reply to a hello.
    lines = [connection.hostname]
    if extended:
        lines += connection.extensions.hello_lines(connection)
    reply = Reply(250, None, tuple(lines))
    if again:
        connection.respond_to_junk(reply)
    else:
        connection.respond(reply)


def _mail(connection: "ServerConnection", argument: bytes) -> None:
    match connection.state:
        case State.READY:
            pass
        case State.START:
            return connection.respond(HELLO_FIRST)
        case State.RESET_NEEDED:
            return connection.respond(RESET_FIRST)
        case _:
            return connection.respond(_NESTED_MAIL)
    try:
        path, octets = grammar.path_argument(argument, b"FROM:")
        parameters = grammar.parameters(octets)
        values = dict(parameters)
        extensions = _extensions_of(connection, connection.extensions.mail_parameters, parameters)
        address = parse_path(path, utf8="SMTPUTF8" in values)
    except grammar.CommandSyntaxError as error:
        return connection.respond(Reply.of(501, "5.5.4", str(error)))
    except _ParameterNotKnownError as error:
        return connection.respond(Reply.of(555, "5.5.4", str(error)))
    except NonAsciiAddressError:
        return connection.respond(_UTF8_MAIL)
    except AddressSyntaxError as error:
        return connection.respond(Reply.of(501, "5.1.7", str(error)))
    mail = MailReceived(
        address=address,
        parameters=parameters,
        extensions=extensions,
        size=int(values.get("SIZE", 0)),
        body=values.get("BODY", _BODY_DEFAULT).upper(),
        utf8="SMTPUTF8" in values,
    )
    for refuse in connection.extensions.refuse_mail:
        if (refusal := refuse(connection, mail)) is not None:
            return connection.respond(refusal)
    return connection.ask(mail)


def _rcpt(connection: "ServerConnection", argument: bytes) -> None:
    match connection.state:
        case State.MAIL | State.RCPT:
            pass
        case State.START | State.READY:
            return connection.respond(MAIL_FIRST)
        case State.RESET_NEEDED:
            return connection.respond(RESET_FIRST)
        case _:
            return connection.respond(_AFTER_CONTENT)
    transaction = connection.transaction
    transaction.recipients_tried = True
    if transaction.recipients + transaction.referred >= connection.limits.recipients:
        return connection.respond(_TOO_MANY_RECIPIENTS)
    try:
        path, octets = grammar.path_argument(argument, b"TO:")
        parameters = grammar.parameters(octets)
        extensions = _extensions_of(connection, connection.extensions.rcpt_parameters, parameters)
        address = _forward_path(path, utf8=transaction.mail is not None and transaction.mail.utf8)
    except grammar.CommandSyntaxError as error:
        return connection.respond(Reply.of(501, "5.5.4", str(error)))
    except _ParameterNotKnownError as error:
        return connection.respond(Reply.of(555, "5.5.4", str(error)))
    except NonAsciiAddressError:
        return connection.respond(_UTF8_RCPT)
    except AddressSyntaxError as error:
        return connection.respond(Reply.of(553, "5.1.3", str(error)))
    return _receive(connection, RecipientReceived(address=address, parameters=parameters, extensions=extensions))


def _receive(connection: "ServerConnection", recipient: RecipientReceived) -> None:
    for refuse in connection.extensions.refuse_rcpt:
        if (refusal := refuse(connection, recipient)) is not None:
            return connection.respond(refusal)
    return connection.ask(recipient)


def _forward_path(path: bytes, *, utf8: bool) -> Address:
    if not path:
        raise AddressSyntaxError("a recipient is missing")
    return parse_path(path, utf8=utf8)


def _extensions_of(
    connection: "ServerConnection",
    known: Mapping[str, Sequence[tuple[Extension, Parameter]]],
    parameters: tuple[tuple[str, str], ...],
) -> tuple[str, ...]:
    """The keywords of the extensions that the parameters of a MAIL or RCPT belong to.

    Raises CommandSyntaxError for a bad value, _ParameterNotKnownError where nobody here takes the parameter.
    """
    if parameters and not connection.extended:
        raise _ParameterNotKnownError("parameters need EHLO")
    used: list[str] = []
    for keyword, value in parameters:
        error = ""
        for extension, check in known.get(keyword, ()):
            if extension.is_offered(connection) and not (error := check(value)):
                used.append(extension.keyword)
                break
        else:
            if error:
                raise grammar.CommandSyntaxError(error)
            raise _ParameterNotKnownError(f"{keyword} is not known here")
    return tuple(used)


def _data(connection: "ServerConnection", argument: bytes) -> None:
    if argument:
        return connection.respond(_NO_ARGUMENT)
    match connection.state:
        case State.RCPT:
            pass
        case State.MAIL if connection.transaction.recipients_tried:
            # RFC 2033 §4.2 asks for 503 where SMTP says 554.
            lmtp = connection.dialect.reply_per_recipient
            return connection.respond(_NO_LMTP_RECIPIENTS if lmtp else NO_RECIPIENTS)
        case State.MAIL:
            return connection.respond(RCPT_FIRST)
        case State.CHUNKS | State.FAILED:
            # RFC 3030 §2: DATA and BDAT do not mix; the client must reset.
            connection.reset_transaction()
            connection.step(Cause.CHUNK_OUT_OF_SEQUENCE)
            return connection.respond(_AFTER_CONTENT)
        case State.RESET_NEEDED:
            return connection.respond(RESET_FIRST)
        case _:
            return connection.respond(MAIL_FIRST)
    for refuse in connection.extensions.refuse_data:
        if (refusal := refuse(connection)) is not None:
            return connection.respond(refusal)
    connection.step(Cause.DATA_ACCEPTED)
    connection.respond(_START_CONTENT)
    return connection.read_payload(_DataContent(connection))


class _DataContent:
    """The octets after 354. A message that will be refused is read by the same reader to its true end (E2, E8)."""

    def __init__(self, connection: "ServerConnection") -> None:
        self._connection = connection
        self._reader = DotReader()

    def read(self, octets: bytes, start: int) -> int:
        connection = self._connection
        content, position = self._reader.read(octets, start)
        connection.receive_content(content)
        if connection.transaction.content_octets > connection.limits.discard_octets:
            connection.close(TOO_BIG)
        elif self._reader.done:
            if self._reader.bare:
                connection.fail_transaction(BARE_LINE_END)
            connection.end_payload()
            connection.end_content()
        return position


def _rset(connection: "ServerConnection", argument: bytes) -> None:
    if argument:
        return connection.respond(_NO_ARGUMENT)
    connection.reset_transaction()
    connection.step(Cause.TRANSACTION_ENDED)
    # Also in a transaction: MAIL and RSET in turn would be work without end and without mail.
    return connection.respond_to_junk(_OK)


def _noop(connection: "ServerConnection", _argument: bytes) -> None:
    # RFC 5321 §4.1.1.9: an argument is allowed and ignored.
    connection.respond_to_junk(_OK)


def _vrfy(connection: "ServerConnection", argument: bytes) -> None:
    if not argument:
        return connection.respond(Reply.of(501, "5.5.4", "whom to verify is missing"))
    return connection.respond_to_junk(_CANNOT_VERIFY)


def _quit(connection: "ServerConnection", argument: bytes) -> None:
    return connection.respond(_NO_ARGUMENT) if argument else connection.close(_GOODBYE)


def _verbs(dialect: Dialect) -> Mapping[bytes, Verb]:
    greetings = {verb: _extended_hello if verb == dialect.extended_hello else _hello for verb in dialect.hello}
    return greetings | {
        b"MAIL": _mail,
        b"RCPT": _rcpt,
        b"DATA": _data,
        b"RSET": _rset,
        b"NOOP": _noop,
        b"VRFY": _vrfy,
        b"QUIT": _quit,
    }


VERBS: Mapping[str, Mapping[bytes, Verb]] = {dialect.name: _verbs(dialect) for dialect in DIALECTS.values()}
