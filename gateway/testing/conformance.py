"""The conformance kit: whether a connector keeps the contract of `gateway.connector.Connector`.

    async def test_conformance(tmp_path):
        await check_connector(lambda: build(tmp_path), read_back, max_in_flight=CONNECTOR.max_in_flight)

It needs a destination that works, emits some fifty mails and raises AssertionError, with one sentence, at the first
promise that is not kept. What happens when the destination fails is for the connector's own tests.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress

from msgspec import structs

from gateway.address import Address
from gateway.connector import Connector, DeliveryFailure, Mail, PermanentFailure, Receipt, TransientFailure
from gateway.envelope import Content, Envelope, Recipient
from gateway.testing.samples import plain_mail, sample_mails
from gateway.testing.watched import WatchedContent

__all__ = ["check_connector"]

_EMIT_SECONDS = 60.0
_CLOSE_SECONDS = 5.0
_GRACE_SECONDS = 0.2
# After how many turns of the event loop an emit is cancelled.
_TURNS = (0, 1, 2, 4, 8, 16)

_ReadBack = Callable[[Receipt], Awaitable[Mail]]


async def check_connector(
    make_connector: Callable[[], Connector],
    read_back: _ReadBack | None = None,
    *,
    max_in_flight: int = 8,
    refused: Address | None = None,
) -> None:
    """Raise AssertionError unless the connectors that `make_connector` makes keep the contract.

    `read_back` gets a mail from the destination by its receipt; where it is given, every mail must come back with the
    same envelope (`message.content` and `message.reference` aside) and the same octets. `max_in_flight` is what the
    connector type declares. `refused` is a recipient whom the destination refuses, where it answers for each: what it
    takes for the others is then in a receipt that names that one.
    """
    tasks_before = asyncio.all_tasks()
    await _close(make_connector(), "a connector that was never opened")
    connector = make_connector()
    await connector.open()
    check = _Check(connector, read_back)
    try:
        await check.accepts_every_sample()
        await check.takes_a_mail_twice()
        await check.emits_concurrently(max_in_flight)
        await check.survives_unreadable_content()
        await check.survives_cancellation()
        if refused is not None:
            await check.names_who_was_refused(refused)
    finally:
        await _close(connector, "a connector that was used")
    check.read_nothing_late()
    left = sorted(task.get_name() for task in asyncio.all_tasks() - tasks_before)
    _require(not left, f"close() returned, but tasks of the connector still run: {', '.join(left)}")


class _Check:
    """What is asked of one open connector, and the contents that were handed to it."""

    def __init__(self, connector: Connector, read_back: _ReadBack | None) -> None:
        self._connector = connector
        self._read_back = read_back
        self._contents: list[tuple[str, WatchedContent]] = []

    async def accepts_every_sample(self) -> None:
        mails = sample_mails()
        try:
            for name, mail in mails.items():
                await self._accepted(f"the sample mail '{name}'", mail)
        finally:
            for mail in mails.values():
                mail.content.close()

    async def takes_a_mail_twice(self) -> None:
        mail = plain_mail()
        first = await self._accepted("a mail", mail)
        await self._accepted("the same mail, emitted again under the same id", mail)
        await self._comes_back("a mail that was emitted twice, by its first receipt", mail, first)

    async def emits_concurrently(self, max_in_flight: int) -> None:
        what = f"one of {max_in_flight} mails emitted at once"
        await asyncio.gather(*(self._accepted(what, plain_mail()) for _ in range(max_in_flight)))

    async def survives_unreadable_content(self) -> None:
        def fail(_content: WatchedContent) -> None:
            raise OSError("this content cannot be read")

        mail = plain_mail()
        outcome = await self._emit("a mail whose content cannot be read", mail, on_read=fail)
        _require(
            isinstance(outcome, TransientFailure),
            f"emit() answered {outcome!r} to content that cannot be read; TransientFailure is what that is",
        )
        await self._accepted("a mail whose content could not be read at first", mail)

    async def survives_cancellation(self) -> None:
        for turns in _TURNS:
            mail = plain_mail()
            emit = asyncio.create_task(self._emit("a mail whose emit was cancelled", mail))
            for _ in range(turns):
                await asyncio.sleep(0)
            emit.cancel()
            await _ended(emit)
            await self._accepted(f"a mail whose first emit was cancelled after {turns} turns of the loop", mail)
        mail = plain_mail()
        loop, loop_thread = asyncio.get_running_loop(), threading.get_ident()

        async def cancel_and_let_end() -> None:
            emit.cancel()
            await asyncio.wait([emit], timeout=_GRACE_SECONDS)

        def cancel(_content: WatchedContent) -> None:
            if threading.get_ident() == loop_thread:
                loop.call_soon(emit.cancel)
            else:
                # An emit that does not wait for its thread ends meanwhile, and the thread's read is a late one. One
                # that lets the event loop wait for this read lets it wait no longer than this.
                with suppress(TimeoutError):
                    asyncio.run_coroutine_threadsafe(cancel_and_let_end(), loop).result(2 * _GRACE_SECONDS)

        emit = asyncio.create_task(self._emit("a mail whose emit was cancelled", mail, on_read=cancel))
        await _ended(emit)
        await self._accepted("a mail whose first emit was cancelled while it read the content", mail)

    async def names_who_was_refused(self, address: Address) -> None:
        taken, refused = plain_mail().envelope.envelope.recipients[0], Recipient(address=address)
        for recipients, expected in (((taken, refused), {1}), ((refused, taken, refused), {0, 2})):
            what = f"a mail to {len(recipients)} recipients, of whom the destination refuses <{address.raw}>,"
            receipt = await self._emit(what, _addressed(recipients))
            if isinstance(receipt, DeliveryFailure):
                sentence = f"emit() of {what} raised, though others are to have it: {receipt}"
                raise AssertionError(sentence) from receipt  # noqa: TRY004  # a verdict, no type error
            found = {each.position for each in receipt.refused}
            _require(
                found == expected and len(receipt.refused) == len(expected),
                f"the receipt of {what} says that those at {sorted(found)} are refused instead of {sorted(expected)}",
            )
            for each in receipt.refused:
                _check_failure(what, each.failure)
        what = f"a mail to nobody but <{address.raw}>, whom the destination refuses,"
        outcome = await self._emit(what, _addressed((refused,)))
        _require(isinstance(outcome, DeliveryFailure), f"emit() of {what} returned {outcome!r} instead of raising")

    def read_nothing_late(self) -> None:
        for what, content in self._contents:
            _require(not content.was_read_late, f"the content of {what} was read after emit() had ended")

    async def _accepted(self, what: str, mail: Mail) -> Receipt:
        outcome = await self._emit(what, mail)
        if isinstance(outcome, DeliveryFailure):
            raise AssertionError(f"emit() refused {what}: {outcome}") from outcome  # noqa: TRY004  # a verdict, no type error
        _require(not outcome.refused, f"emit() of {what} refused some of its recipients: {outcome.refused}")
        await self._comes_back(what, mail, outcome)
        return outcome

    async def _emit(
        self, what: str, mail: Mail, *, on_read: Callable[[WatchedContent], None] | None = None
    ) -> Receipt | DeliveryFailure:
        content = WatchedContent(mail.content, on_read)
        self._contents.append((what, content))
        timeout = asyncio.timeout(_EMIT_SECONDS)
        try:
            async with timeout:
                receipt = await self._connector.emit(Mail(mail.envelope, content))
        except DeliveryFailure as failure:
            _check_failure(what, failure)
            return failure
        except Exception as exc:
            # Whatever else comes out is what this kit is looking for.
            if timeout.expired():
                raise AssertionError(f"emit() of {what} did not end within {_EMIT_SECONDS:.0f} seconds") from exc
            raise AssertionError(f"emit() of {what} raised {exc!r}; only a DeliveryFailure may leave it") from exc
        finally:
            content.emit_has_ended()
        _check_receipt(what, mail, receipt)
        return receipt

    async def _comes_back(self, what: str, mail: Mail, receipt: Receipt) -> None:
        if self._read_back is None:
            return
        found = await self._read_back(receipt)
        expected_envelope, found_envelope = _without_content(mail.envelope), _without_content(found.envelope)
        _require(
            expected_envelope == found_envelope,
            f"the envelope of {what} came back changed: {found_envelope} instead of {expected_envelope}",
        )
        _require(_same_octets(mail.content, found.content), f"the content of {what} came back changed")
        found.content.close()


def _addressed(recipients: tuple[Recipient, ...]) -> Mail:
    mail = plain_mail()
    transaction = structs.replace(mail.envelope.envelope, recipients=recipients)
    return Mail(structs.replace(mail.envelope, envelope=transaction), mail.content)


async def _close(connector: Connector, what: str) -> None:
    timeout = asyncio.timeout(_CLOSE_SECONDS)
    try:
        async with timeout:
            await connector.close()
    except Exception as exc:
        if timeout.expired():
            raise AssertionError(f"close() of {what} did not end within {_CLOSE_SECONDS:.0f} seconds") from exc
        raise AssertionError(f"close() of {what} raised {exc!r}") from exc


async def _ended(emit: asyncio.Task[Receipt | DeliveryFailure]) -> None:
    # An emit that was nearly done may also end in its receipt, or in a failure; both are values here.
    done, _ = await asyncio.wait([emit], timeout=_EMIT_SECONDS)
    _require(done, f"a cancelled emit() did not end within {_EMIT_SECONDS:.0f} seconds")
    if not emit.cancelled():
        emit.result()


def _check_receipt(what: str, mail: Mail, receipt: Receipt) -> None:
    _require(isinstance(receipt, Receipt), f"emit() of {what} returned {receipt!r} instead of a Receipt")
    _require(
        receipt.id == mail.envelope.id, f"the receipt of {what} has the id {receipt.id} instead of {mail.envelope.id}"
    )
    _require(receipt.connector != "", f"the receipt of {what} does not name the connector")
    _require(receipt.type != "", f"the receipt of {what} does not name the connector type")
    _require(bool(receipt.location), f"the receipt of {what} does not say where the mail lies")


def _check_failure(what: str, failure: DeliveryFailure) -> None:
    wanted = {TransientFailure: 4, PermanentFailure: 5}.get(type(failure))
    _require(
        wanted is not None, f"emit() of {what} raised {failure!r}; it may be a TransientFailure or PermanentFailure"
    )
    _require(
        failure.status.class_ == wanted, f"emit() of {what} raised {failure!r}; its status has to begin with {wanted}"
    )
    _require(
        failure.text.isascii() and failure.text.isprintable() and failure.text != "",
        f"emit() of {what} failed with the text {failure.text!r}; it has to be one line of printable ASCII",
    )


def _without_content(envelope: Envelope) -> Envelope:
    return structs.replace(envelope, message=structs.replace(envelope.message, content=None, reference=None))


def _same_octets(one: Content, other: Content) -> bool:
    return one.size == other.size and all(
        block == other_block for block, other_block in zip(one.blocks(), other.blocks(), strict=True)
    )


def _require(condition: object, sentence: str) -> None:
    if not condition:
        raise AssertionError(sentence)
