"""One connection: moves octets between the socket and the engine, and events to the mail they belong to.

Most events are handled at once, in the callback that brought the octets. What takes time (storing large content,
delivery, a password, a TLS handshake) runs as one task; until it ends the session reads once more at most, so that a
client cannot have more under way than one mail and a buffer. Sessions share nothing that one of them could use up.
"""

import asyncio
import ssl
import time
from collections.abc import Callable, Coroutine
from typing import Any, ClassVar, cast

from gateway.delivery import Routes
from gateway.envelope import Client, Proxy, Tls, new_id
from gateway.ingress import records
from gateway.ingress.acknowledge import SENDER_OK, storage_failure
from gateway.ingress.admission import Admission, Room
from gateway.ingress.authentication import authenticate
from gateway.ingress.connections import Connections
from gateway.ingress.handover import hand_over
from gateway.ingress.handshake import TlsFailedError, shake_hands
from gateway.ingress.networks import UNIX, is_in
from gateway.ingress.pace import Pace
from gateway.ingress.proxy import ProxyHeader, ProxyHeaderError
from gateway.ingress.recipient import take_recipient
from gateway.ingress.settings import ListenerSettings
from gateway.ingress.submission import give_token
from gateway.ingress.transaction import SessionFacts, Transaction
from gateway.smtp import (
    ChunkReceived,
    ConnectionEnded,
    ContainerReceived,
    ContentReceived,
    CredentialsReceived,
    Event,
    MailReceived,
    MessageReceived,
    RecipientReceived,
    Reply,
    ServerConnection,
    State,
    SubmissionTokenRequested,
    TlsRequested,
    TransactionAborted,
    Waiting,
)

__all__ = ["Session"]

_LATE = Reply.of(421, "4.4.2", "too slow, closing")
_SHUTDOWN = Reply.of(421, "4.3.2", "shutting down, try again later")
_INTERNAL = Reply.of(421, "4.3.0", "local error, closing")
_PROXY_SECONDS = 10.0
# How long a client that is cut off has to read why.
_LAST_WORD_SECONDS = 1.0
# Commands come by the thousand in one packet (RFC 2920). After so many events, about a millisecond, others have a turn.
_EVENTS_PER_TURN = 32
# The states in which a client has nothing to lose when the session ends.
_IDLE = (State.START, State.READY, State.AUTHENTICATING, State.RESET_NEEDED)


class Session(asyncio.Protocol):
    """One client, from its connection to the end of all that it started."""

    def __init__(
        self, settings: ListenerSettings, routes: Callable[[], Routes], connections: Connections, admission: Admission
    ) -> None:
        """`routes` gives those that a transaction shall take which begins now."""
        self._settings = settings
        self._current_routes = routes
        self._routes = routes()
        self._connections = connections
        self._admission = admission
        self._connection = ServerConnection(
            settings.dialect, hostname=settings.hostname, extensions=settings.extensions, limits=settings.limits
        )
        self._id = new_id()
        self._loop = asyncio.get_running_loop()
        self._client = Client(address=UNIX)
        self._is_trusted = False
        self._proxy: Proxy | None = None
        self._proxy_header: ProxyHeader | None = None
        self._tls: Tls | None = None
        # What came of a handshake before it could begin; None where no handshake is to come first.
        self._early: bytes | None = b"" if settings.implicit_tls else None
        # The client expects a handshake: whatever were sent in clear would be taken for a broken part of it.
        self._awaits_tls = settings.implicit_tls
        self._transaction: Transaction | None = None
        self._room: Room | None = None
        self._task: asyncio.Task[None] | None = None
        self._output_blocked = False
        self._half_closed = False
        self._lost = False
        self._draining = False
        self._pace = Pace(
            idle_seconds=settings.idle_seconds,
            min_octets_per_second=settings.min_octets_per_second,
            on_late=self._end_late,
        )

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername")
        if isinstance(peer, tuple):
            self._client = Client(address=peer[0].removeprefix("::ffff:"), port=peer[1])
        behind_proxy = is_in(self._settings.proxy_networks, self._client)
        client = "" if behind_proxy or self._client.address == UNIX else self._client.address
        if (refusal := self._connections.admit(self, client)) is not None:
            self._refuse(refusal)
        elif behind_proxy or self._settings.implicit_tls:
            self._proxy_header = ProxyHeader() if behind_proxy else None
            self._run(self._open())
        else:
            self._greet()
            self._pump(0)

    def data_received(self, octets: bytes) -> None:
        if self._proxy_header is not None:
            self._proxy_header.feed(octets)
        elif self._early is not None:
            # uvloop reads a new connection although `connection_made` told it not to.
            self._early += octets
        else:
            self._connection.receive_data(octets)
            if self._task is None:
                self._pump(len(octets))
            elif not self._awaits_tls:
                # Most clients wait for the reply. Of one that does not, no more than this is read.
                self._transport.pause_reading()
                self._pace.hear(len(octets))

    def eof_received(self) -> bool:
        # A client that closes only its own side still gets the replies to what it sent; then the connection ends. TLS
        # has no half-closed connections.
        self._half_closed = True
        if self._proxy_header is not None:
            self._proxy_header.feed_eof()
        return self._task is not None and self._tls is None and not self._awaits_tls

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # why does not matter
        if self._lost:
            return
        self._lost = True
        if self._proxy_header is not None:
            self._proxy_header.feed_eof()
        self._pace.close()
        if self._task is None:
            self._release()

    def pause_writing(self) -> None:
        # A client that does not read its replies gets no more of them, nor of our attention.
        self._output_blocked = True
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._output_blocked = False
        if self._task is None and not self._lost:
            self._transport.resume_reading()
            self._pump(0)

    # Drainable

    def drain(self) -> None:
        self._draining = True
        if self._task is None:
            self._pump(0)

    def abort(self) -> None:
        if self._task is not None:
            # Not at once: a task that is cancelled before its first step never runs, its own end included.
            self._loop.call_soon(self._task.cancel)
        self._refuse(_SHUTDOWN)
        self._loop.call_later(_LAST_WORD_SECONDS, self._cut_off)

    def _cut_off(self) -> None:
        if not self._lost:
            self._transport.abort()
            self.connection_lost(None)  # for asyncio does not report it where a handshake was not completed

    def _greet(self) -> None:
        # Only now is it certain who the client is; what that means for it holds for the whole session.
        self._is_trusted = is_in(self._settings.trusted_networks, self._client)
        self._connection.greet(reply_codes=self._settings.reply_metadata.offered_to(self._client))

    def _refuse(self, reply: Reply) -> None:
        self._connection.close(reply)
        if not self._lost:  # for uvloop raises an error at whoever writes then
            self._pump(0)

    # Events

    def _pump(self, octets: int) -> None:
        """Handle what the engine has, until it waits for octets, something takes time, or the turn is over."""
        connection = self._connection
        events = 0
        try:
            while self._task is None and not self._output_blocked:
                if events == _EVENTS_PER_TURN:
                    self._run(self._yield_turn())
                    break
                events += 1
                event = connection.next_event()
                if isinstance(event, Waiting):
                    break
                if (work := self._HANDLERS[type(event)](self, event)) is not None:
                    self._run(work)
        except Exception:  # noqa: BLE001  # one of two such places: a defect here ends this session, not the others
            self._break()
        self._write()
        if connection.state is State.CLOSED:
            self._transport.close()
            # Also for reading our last words a client has only so long.
            self._pace.await_command()
        elif self._task is not None:
            self._pace.stop()
        elif connection.in_payload:
            self._pace.await_content(octets)

    def _write(self) -> None:
        connection = self._connection
        if self._draining and self._task is None and connection.state in _IDLE:
            connection.close(_SHUTDOWN)
        output = connection.data_to_send()
        if output and not self._awaits_tls:
            self._transport.write(output)
            self._pace.await_command()

    @property
    def _open_transaction(self) -> Transaction:
        if self._transaction is None:
            raise RuntimeError("the engine told of content outside a transaction")
        return self._transaction

    @property
    def _open_room(self) -> Room:
        if self._room is None:
            raise RuntimeError("the engine told of content outside a transaction")
        return self._room

    def _begin_transaction(self, mail: MailReceived) -> None:
        """Accepts MAIL where there is room: what the session is by now goes into the transaction."""
        connection = self._connection
        room = self._admission.admit(mail.size)
        if isinstance(room, Reply):
            connection.answer(room)
            return
        self._room = room
        self._routes = self._current_routes()
        facts = SessionFacts(
            gateway=self._settings.hostname,
            listener=self._settings.name,
            session=self._id,
            client=self._client,
            protocol=connection.dialect.protocol(
                extended=connection.extended,
                utf8=mail.utf8,
                tls=connection.tls,
                authenticated=bool(connection.authenticated_as),
            ),
            hello=connection.hello,
            proxy=self._proxy,
            tls=self._tls,
            authenticated_as=connection.proven_login,
            trusted=self._is_trusted,
        )
        self._transaction = Transaction(facts, mail, spool=self._settings.spool)
        connection.answer(SENDER_OK)

    def _route(self, recipient: RecipientReceived) -> None:
        connection = self._connection
        submission = self._settings.reply_metadata.submission
        connection.answer(take_recipient(recipient, self._open_transaction, self._routes, connection, submission))

    def _give_token(self, request: SubmissionTokenRequested) -> None:
        self._connection.answer(give_token(self._settings.reply_metadata.submission, request))

    def _abort_transaction(self, aborted: TransactionAborted) -> None:
        if aborted.failure is not None:
            records.mail_refused(self._open_transaction, aborted.failure)
        self._discard()

    def _take_content(self, received: ContentReceived) -> Coroutine[Any, Any, None] | None:
        content, room = self._open_transaction.content, self._open_room
        content.write(received.octets)
        refusal = room.take_content(len(received.octets))
        if refusal is None and content.is_full and (refusal := room.take_file()) is None:
            return self._store()
        if refusal is not None:
            self._connection.fail_transaction(refusal)
        return None

    def _take_container(self, container: ContainerReceived) -> None:
        self._open_transaction.add_container(container.type, container.data)
        if (refusal := self._open_room.take_metadata(len(container.data))) is not None:
            self._connection.fail_transaction(refusal)

    # What takes time

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        connection = self._connection
        if self._tls is not None or connection.state is State.NEGOTIATING_TLS or connection.has_more_octets:
            # The end of the client's half of TLS ends it all, a handshake is not ours to read, or there is a buffer.
            self._transport.pause_reading()
        self._task = self._loop.create_task(self._work(work))

    async def _work(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except (TlsFailedError, ProxyHeaderError) as error:
            records.connection_failed(self._id, self._client, error)
            self._cut_off()
        except Exception:  # noqa: BLE001  # as in _pump, of which this is the part that takes time
            self._break()
        finally:
            self._task = None
            self._go_on()

    def _go_on(self) -> None:
        if self._lost:
            self._release()
            return
        if not self._output_blocked:
            self._transport.resume_reading()
        self._pump(0)
        if self._half_closed and self._task is None:
            self._transport.close()

    def _release(self) -> None:
        self._discard()
        self._connection.abandon()
        self._connections.release(self)

    async def _yield_turn(self) -> None:
        await asyncio.sleep(0)
        # Perhaps nothing is left to answer, which would be the end of the client's waiting for us.
        self._pace.await_command()

    async def _store(self) -> None:
        transaction = self._open_transaction
        try:
            await transaction.content.flush()
        except OSError as error:
            records.storage_failed(transaction.id, error)
            self._connection.fail_transaction(storage_failure(transaction.id, error))

    async def _deliver(self, message: MessageReceived) -> None:
        transaction, self._transaction = self._open_transaction, None
        started = time.monotonic()
        try:
            replies = await hand_over(
                transaction,
                self._settings.dialect,
                extensions=message.extensions,
                reply_metadata=self._settings.reply_metadata,
                asked_for=self._connection.transaction.reply_codes,
            )
        except asyncio.CancelledError:
            records.mail_cut_off(transaction, _SHUTDOWN, seconds=time.monotonic() - started)
            raise
        finally:
            self._open_room.release()
        if self._connection.state is State.CLOSED:
            # It could not be stopped any more, or not in time. The client has been told 421, and comes again.
            return
        self._connection.answer(*replies)

    async def _authenticate(self, credentials: CredentialsReceived) -> None:
        reply = await authenticate(
            credentials, self._settings, session=self._id, client=self._client, hello=self._connection.hello
        )
        self._connection.answer(reply)

    async def _open(self) -> None:
        """What comes before the greeting: a PROXY header, and TLS where it begins at once."""
        if self._proxy_header is not None:
            try:
                async with asyncio.timeout(_PROXY_SECONDS):
                    announced, rest = await self._proxy_header.read_client()
            except TimeoutError:
                raise ProxyHeaderError("no PROXY header came") from None
            self._proxy_header = None
            if announced is not None:
                self._proxy = Proxy(address=self._client.address, port=self._client.port)
                self._client = announced
                if (refusal := self._connections.attribute(self, announced.address)) is not None:
                    self._connection.close(refusal)
                    return
            if self._early is None:
                self._connection.receive_data(rest)
            else:
                self._early = rest
        if self._early is not None:
            early, self._early = self._early, None
            await self._handshake(early)
            self._connection.tls_established()
        self._greet()

    async def _upgrade(self) -> None:
        self._transport.write(self._connection.data_to_send())
        if self._connection.has_more_octets:
            raise TlsFailedError("octets in clear came behind STARTTLS")
        await self._handshake(b"")
        self._connection.tls_established()
        self._pace.await_command()

    async def _handshake(self, early: bytes) -> None:
        context = cast("ssl.SSLContext", self._settings.tls)
        self._awaits_tls = True
        self._transport = await shake_hands(self._transport, self, context, early=early)
        self._awaits_tls = False
        self._transport.pause_reading()
        cipher, version, _ = self._transport.get_extra_info("cipher")
        self._tls = Tls(version=version, cipher=cipher)

    # The end

    def _discard(self) -> None:
        transaction, self._transaction = self._transaction, None
        if transaction is not None:
            transaction.content.discard()
            self._open_room.release()

    def _end_late(self) -> None:
        if self._connection.state is State.CLOSED:
            self._transport.abort()
        else:
            self._refuse(_LATE)

    def _break(self) -> None:
        self._connection.close(_INTERNAL)
        self._discard()
        records.session_broken(self._id, self._client)

    # What each event leads to; what takes time is returned to be run.
    _HANDLERS: ClassVar[dict[type[Event], Callable[["Session", Any], Coroutine[Any, Any, None] | None]]] = {
        MailReceived: _begin_transaction,
        RecipientReceived: _route,
        ContentReceived: _take_content,
        ChunkReceived: lambda self, chunk: self._open_transaction.add_chunk(chunk.size),
        ContainerReceived: _take_container,
        MessageReceived: _deliver,
        TransactionAborted: _abort_transaction,
        CredentialsReceived: _authenticate,
        SubmissionTokenRequested: _give_token,
        TlsRequested: lambda self, _: self._upgrade(),
        ConnectionEnded: lambda self, _: self._discard(),
    }
