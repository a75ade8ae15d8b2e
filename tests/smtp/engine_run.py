"""Runs a transcript through the server engine alone, with the ingress's own transactions and answers."""

from collections.abc import Callable, Iterator
from pathlib import Path

from gateway.envelope import Client
from gateway.ingress.acknowledge import SENDER_OK
from gateway.ingress.authentication import AUTHENTICATED, BAD_CREDENTIALS
from gateway.ingress.handover import hand_over
from gateway.ingress.recipient import take_recipient
from gateway.ingress.submission import give_token, is_known
from gateway.ingress.transaction import SessionFacts, Transaction
from gateway.smtp import (
    ChunkReceived,
    ContainerReceived,
    ContentReceived,
    CredentialsReceived,
    MailReceived,
    MessageReceived,
    RecipientReceived,
    ServerConnection,
    State,
    SubmissionTokenRequested,
    TlsRequested,
    TransactionAborted,
    Waiting,
)
from tests.smtp.transcript import Transcript
from tests.smtp.transcript_server import HOSTNAME, Recorder, Settings, listener_settings, routes

Feed = Callable[[bytes], Iterator[bytes]]
CLIENT = Client(address="127.0.0.1", port=1)


class EngineRun:
    """One conversation. `feed` decides in which pieces the client's octets arrive."""

    def __init__(self, settings: Settings, spool: Path) -> None:
        self.recorder = Recorder()
        self._settings = settings
        self._listener = listener_settings(settings, spool, None)
        self._routes = routes(settings, self.recorder)
        self._spool = spool
        self.connection = ServerConnection(
            self._listener.dialect,
            hostname=HOSTNAME,
            extensions=self._listener.extensions,
            limits=self._listener.limits,
        )
        self.connection.greet(reply_codes=self._listener.reply_metadata.offered_to(CLIENT))
        self._transaction: Transaction | None = None
        self._tls_wanted = False

    async def converse(self, transcript: Transcript, feed: Feed) -> list[bytes]:
        """The server's output for each segment."""
        outputs = []
        for segment in transcript.segments:
            for piece in feed(segment.sent):
                if self._tls_wanted:
                    break  # what comes behind STARTTLS is for the handshake
                self.connection.receive_data(piece)
                await self._handle_events()
            if segment.then == "tls":
                assert self._tls_wanted, "STARTTLS was not accepted"
                self._tls_wanted = False
                self.connection.tls_established()
            outputs.append(self.connection.data_to_send())
            if segment.then == "closed":
                assert self.connection.state is State.CLOSED
            elif segment.then == "disconnect":
                break
        return outputs

    async def _handle_events(self) -> None:
        while not isinstance(event := self.connection.next_event(), Waiting):
            match event:
                case MailReceived():
                    self._transaction = Transaction(self._facts(event), event, spool=self._spool)
                    self.connection.answer(SENDER_OK)
                case RecipientReceived():
                    reply = take_recipient(
                        event,
                        self._transaction,
                        self._routes,
                        self.connection,
                        self._listener.reply_metadata.submission,
                    )
                    self.connection.answer(reply)
                case ContentReceived():
                    self._transaction.content.write(event.octets)
                case ChunkReceived():
                    self._transaction.add_chunk(event.size)
                case ContainerReceived():
                    self._transaction.add_container(event.type, event.data)
                case MessageReceived():
                    transaction, self._transaction = self._transaction, None
                    replies = await hand_over(
                        transaction,
                        self.connection.dialect,
                        extensions=event.extensions,
                        reply_metadata=self._listener.reply_metadata,
                        asked_for=self.connection.transaction.reply_codes,
                    )
                    self.connection.answer(*replies)
                case TransactionAborted():
                    self._transaction = None
                case SubmissionTokenRequested():
                    self.connection.answer(give_token(self._listener.reply_metadata.submission, event))
                case CredentialsReceived(mechanism="STOKEN"):
                    right = is_known(self._listener.reply_metadata.submission, event)
                    self.connection.answer(AUTHENTICATED if right else BAD_CREDENTIALS)
                case CredentialsReceived():
                    login, _, password = self._settings.login.partition(":")
                    right = (event.login, event.password) == (login.encode(), password.encode())
                    self.connection.answer(AUTHENTICATED if right else BAD_CREDENTIALS)
                case TlsRequested():
                    self._tls_wanted = True

    def _facts(self, mail: MailReceived) -> SessionFacts:
        connection = self.connection
        return SessionFacts(
            gateway=HOSTNAME,
            listener="test",
            session="",
            client=CLIENT,
            protocol=connection.dialect.protocol(
                extended=connection.extended,
                utf8=mail.utf8,
                tls=connection.tls,
                authenticated=bool(connection.authenticated_as),
            ),
            hello=connection.hello,
            proxy=None,
            tls=None,
            authenticated_as=connection.proven_login,
            trusted=self._settings.trusted,
        )
