"""A handler for programs that already run an aiosmtpd `Controller`: envelope, routes, connectors and receipts are ours.

    controller = Controller(MailsluiceHandler(routes, hostname="mx.example.org"))

The protocol is aiosmtpd's: there is no BMTD, whole mails are held in memory, and an LMTP client gets one reply for all
its recipients. The 250 means what it means everywhere: every destination of the mail's routes has it durably.
"""

import tempfile
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from aiosmtpd.smtp import Envelope, Session

from gateway.address import AddressSyntaxError, parse_path
from gateway.delivery import Routes
from gateway.envelope import Client, Tls, new_id
from gateway.ingress.acknowledge import NO_SUCH_RECIPIENT, NOT_TAKEN_HERE, RECIPIENT_OK, SENDER_OK
from gateway.ingress.handover import hand_over
from gateway.ingress.transaction import SessionFacts, Transaction
from gateway.smtp import SMTP, MailReceived, RecipientReceived, Reply

__all__ = ["MailsluiceHandler"]


class MailsluiceHandler:
    """Give it to a Controller. `listener` is the name that envelopes and logs have for this way in."""

    def __init__(self, routes: Routes, *, hostname: str, listener: str = "aiosmtpd") -> None:
        self._routes = routes
        self._hostname = hostname
        self._listener = listener
        # aiosmtpd makes a new envelope for each transaction; when it drops one, ours goes too.
        self._transactions: WeakKeyDictionary[Envelope, Transaction] = WeakKeyDictionary()

    async def handle_MAIL(  # noqa: N802  # aiosmtpd's name
        self, _server: Any, session: Session, envelope: Envelope, address: str | None, mail_options: list[str]
    ) -> str:
        """Begin a transaction."""
        try:
            # aiosmtpd gives the null reverse-path with its brackets.
            reverse_path = parse_path(_octets((address or "").removeprefix("<>")), utf8=True)
        except AddressSyntaxError as error:
            return _text(Reply.of(501, "5.1.7", str(error)))
        parameters = _parameters(mail_options)
        values = dict(parameters)
        mail = MailReceived(
            address=reverse_path,
            parameters=parameters,
            size=int(values.get("SIZE") or 0),
            body=(values.get("BODY") or "7BIT").upper(),
            utf8="SMTPUTF8" in values,
        )
        envelope.mail_from = address
        envelope.mail_options.extend(mail_options)
        facts = self._facts(session, mail)
        self._transactions[envelope] = Transaction(facts, mail, spool=Path(tempfile.gettempdir()))
        return _text(SENDER_OK)

    async def handle_RCPT(  # noqa: N802  # aiosmtpd's name
        self, _server: Any, _session: Session, envelope: Envelope, address: str, rcpt_options: list[str]
    ) -> str:
        """Refuse a recipient that no route takes."""
        try:
            forward_path = parse_path(_octets(address), utf8=True)
        except AddressSyntaxError as error:
            return _text(Reply.of(553, "5.1.3", str(error)))
        route = self._routes.match(forward_path)
        if route is None:
            return _text(NO_SUCH_RECIPIENT)
        if not route.destinations:
            return _text(NOT_TAKEN_HERE)
        recipient = RecipientReceived(address=forward_path, parameters=_parameters(rcpt_options))
        self._transactions[envelope].add_recipient(recipient, route)
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(rcpt_options)
        return _text(RECIPIENT_OK)

    async def handle_DATA(self, _server: Any, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Deliver the mail, and answer for all its recipients."""
        transaction = self._transactions.pop(envelope)
        transaction.content.write(envelope.original_content or b"")
        (reply,) = await hand_over(transaction, SMTP, extensions=())
        return _text(reply)

    def _facts(self, session: Session, mail: MailReceived) -> SessionFacts:
        peer: Any = session.peer  # declared str; a socket's name
        host, port, *_ = peer if isinstance(peer, tuple) else ("unix", 0)
        cipher = session.ssl and session.ssl.get("cipher")
        login = getattr(session.auth_data, "login", b"") if session.authenticated else b""
        return SessionFacts(
            gateway=self._hostname,
            listener=self._listener,
            session=new_id(),
            client=Client(address=host, port=port),
            protocol=SMTP.protocol(
                extended=bool(session.extended_smtp),
                utf8=mail.utf8,
                tls=session.ssl is not None,
                authenticated=bool(session.authenticated),
            ),
            hello=_octets(session.host_name or "").decode("ascii", "backslashreplace"),
            proxy=None,
            tls=Tls(version=cipher[1], cipher=cipher[0]) if cipher else None,
            authenticated_as=login.decode("utf-8", "backslashreplace"),
            trusted=False,
        )


def _octets(text: str) -> bytes:
    # What is no UTF-8 stands in aiosmtpd's texts as surrogates, which no codec of ours could write.
    return text.encode("utf-8", "surrogateescape")


def _parameters(options: list[str]) -> tuple[tuple[str, str], ...]:
    words = (option.partition("=") for option in options)
    return tuple((keyword.upper(), value) for keyword, _, value in words)


def _text(reply: Reply) -> str:
    return reply.encode(enhanced=True).decode().removesuffix("\r\n")
