"""The spooled mail of one destination: what is due is claimed, attempted, and settled; nothing here waits for another.

Only a window of it is in memory (`gateway.delivery.window`), and less while the destination fails
(`gateway.delivery.health`): the rest stays in the spool untouched.
"""

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import cast

from msgspec import structs

from gateway.connector import DeliveryFailure, DestinationClosed, Receipt, TransientFailure
from gateway.delivery import records
from gateway.delivery.clock import now
from gateway.delivery.destination import Destination
from gateway.delivery.health import Health
from gateway.delivery.notices import Notices
from gateway.delivery.shares import share, taken, together
from gateway.delivery.window import Window
from gateway.spool import DeadLetter, Entry, NewMessage, Notification, Settlement, Spool, State, octets_in_memory
from gateway.threads import in_thread
from gateway.turns import turn

__all__ = ["DeliveryQueue"]

_DEFECT_SECONDS = 60.0
_SPOOL_RETRY_SECONDS = 1.0
_LONGEST_CAUSE = 4096


class DeliveryQueue:
    """Delivers what the spool holds for `destination`, from `start` to `stop`."""

    def __init__(
        self, destination: Destination, spool: Spool, notices: Notices, *, added: Callable[[NewMessage], None]
    ) -> None:
        """`added` is told of each notification that has come into the spool."""
        self.destination = destination
        self.notices = notices
        self._spool = spool
        self._added = added
        self._wake = asyncio.Event()
        self._wake.set()
        self._stopping = False
        # Whether those that were under way had their time, too.
        self._stopped = False
        self._paused = False
        self._window = Window()
        self._health = Health(destination.name)
        # Whether the spool may have something due, and when it will have, for all that is known.
        self._backlog = True
        self._next_due: float | None = None
        # Whether that changed since the claim that is under way began, which then does not know of it.
        self._changed = False
        self._attempts: set[asyncio.Task[None]] = set()
        self._run: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to claim what is due."""
        self._run = asyncio.get_running_loop().create_task(self._claim_what_is_due())

    def reserve(self, octets: int) -> bool:
        """Take a place for a mail that is about to be spooled and attempted at once; then `begin` or `release`."""
        closed = self._backlog or self._paused or self._stopping
        if closed or self._free_places() < 1 or self._window.free_octets < octets:
            return False
        self._window.take(octets)
        return True

    def release(self, octets: int) -> None:
        """Give a reserved place back."""
        self._window.emitted()
        self._window.settled(octets)
        self._note_place()

    def begin(self, entry: Entry) -> None:
        """Make the attempt that is recorded, in the place that is reserved for it."""
        if self._stopped:
            # It is made after the next start: nobody is left to wait for its end.
            entry.mail.content.close()
            self.release(octets_in_memory(entry.mail, len(entry.recipients)))
            return
        task = asyncio.get_running_loop().create_task(self._attempt(entry))
        self._attempts.add(task)
        task.add_done_callback(self._attempts.discard)

    def wake(self) -> None:
        """There may be something due that this queue does not know of."""
        self._backlog = self._changed = True
        self._wake.set()

    def ask_again(self) -> None:
        """An operator may have mended the destination: time that it asked for, or was given, is over."""
        self._health.end_rest()
        self.wake()

    def pause(self, *, paused: bool) -> None:
        """Claim nothing from now on, or again."""
        if self._paused and not paused:
            records.resumed(self.destination.name)
            self._health.reset()
            self.wake()
        self._paused = paused

    async def stop(self, *, seconds: float) -> None:
        """Claim nothing more, and let attempts end for so long; what is left is made again after the next start."""
        self._stopping = True
        self._wake.set()
        if self._run is not None:
            await self._run
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                # A place that is reserved counts as well: its attempt is being recorded, and begins in a moment.
                while not self._window.is_empty:
                    self._wake.clear()
                    await self._wake.wait()
        self._stopped = True
        if late := tuple(self._attempts):
            for task in late:
                task.cancel()
            await asyncio.wait(late)

    # Claiming

    async def _claim_what_is_due(self) -> None:
        await self._find_out_whether_paused()
        while not self._stopping:
            await self._sleep_until_due()
            self._wake.clear()
            if self._next_due is not None and self._next_due <= now():
                # From here on it is a place that is waited for, not a time: that has come.
                self._backlog = True
            limit = self._free_places()
            if self._paused or limit < 1 or not self._is_worth_a_claim(limit):
                continue
            self._changed = False
            try:
                claim = await self._spool.claim(
                    self.destination.name,
                    now=now(),
                    limit=limit,
                    octets=self._window.free_octets,
                    latest_first=self._health.tries_the_latest,
                )
            except OSError as error:
                records.spool_failed(self.destination.name, error)
                self._health.rest(_SPOOL_RETRY_SECONDS)
                continue
            except Exception as error:  # noqa: BLE001  # a defect here is not the end of all that waits
                records.claim_broken(self.destination.name, error)
                self._health.rest(_DEFECT_SECONDS)
                continue
            for damage in claim.damaged:
                records.quarantined(damage.message, damage.connector, damage.cause)
            self._next_due = claim.next_due
            self._backlog = self._changed or (claim.next_due is not None and claim.next_due <= now())
            if self._backlog:
                self._wake.set()
            for entry in claim.entries:
                self._window.take(octets_in_memory(entry.mail, len(entry.recipients)))
                self.begin(entry)

    async def _find_out_whether_paused(self) -> None:
        """Until then nothing is attempted: there is a backlog for all that is known."""
        while not self._stopping:
            try:
                self._paused = self.destination.name in await self._spool.paused()
            except OSError as error:
                records.spool_failed(self.destination.name, error)
                await asyncio.sleep(_SPOOL_RETRY_SECONDS)
            else:
                if self._paused:
                    records.still_paused(self.destination.name)
                return

    async def _sleep_until_due(self) -> None:
        wait = self._health.rest_seconds or None
        if wait is None and not self._backlog and self._next_due is not None:
            wait = self._next_due - now()
        with suppress(TimeoutError):
            async with asyncio.timeout(wait):
                await self._wake.wait()

    def _free_places(self) -> int:
        if self._health.rest_seconds:
            return 0
        if self._health.is_suspected:
            return int(self._window.is_empty)
        return self._window.free_places(self.destination.max_in_flight)

    def _is_worth_a_claim(self, places: int) -> bool:
        # Few large claims take fewer syncs than many small ones; when a place becomes free, this is asked again.
        return self._backlog and (places >= self.destination.max_in_flight // 4 or not self._window.emitting)

    # Attempting

    async def _attempt(self, entry: Entry) -> None:
        octets = octets_in_memory(entry.mail, len(entry.recipients))
        begun = False
        try:
            # A commit lets hundreds begin.
            await turn()
            begun = True
            settlement = await self._settlement(entry)
        except asyncio.CancelledError:
            # The end of the process. Whether the destination has a mail that it was given, nobody knows.
            possible = begun or entry.possible_duplicate
            settlement = _settlement(entry, State.WAITING, due=now(), possible_duplicate=possible, cause="interrupted")
        except Exception as error:  # noqa: BLE001  # the top of an attempt: a defect here costs neither mail nor queue
            records.broken(entry, error)
            settlement = _settlement(
                entry, State.WAITING, due=now() + _DEFECT_SECONDS, possible_duplicate=True, cause=repr(error)
            )
        finally:
            self._window.emitted()
            self._note_place()
            entry.mail.content.close()
        try:
            await self._settle(settlement, is_ordered=entry.is_ordered)
        finally:
            self._window.settled(octets)
            self._note_place()

    def _note_place(self) -> None:
        # Where nothing waits for a place, a turn of the loop that claims is work for nothing.
        if self._backlog or self._stopping:
            self._wake.set()

    async def _settlement(self, entry: Entry) -> Settlement:
        """Make the attempt, and say what is to be said of it."""
        started, trials = time.monotonic(), self._health.trials
        try:
            receipt = await self.destination.deliver(entry.mail)
        except DestinationClosed as failure:
            await self._close(failure)
            return self._put_off(entry, failure, delay=0.0)
        except TransientFailure as failure:
            if failure.about_mail:
                self._health.succeeded()
            else:
                self._health.failed(failure, trials)
            delay = self._delay_seconds(entry)
            if delay is None:
                return await self._dead_letter(entry, [failure] * len(entry.recipients))
            return self._put_off(entry, failure, delay=max(delay, failure.retry_after_seconds))
        except DeliveryFailure as failure:
            # It refuses the mail: so it is there, and works.
            self._health.succeeded()
            return await self._dead_letter(entry, [failure] * len(entry.recipients))
        self._health.succeeded()
        have_it = taken(entry, receipt.refused) if receipt.refused else entry
        records.delivered(have_it, receipt, seconds=time.monotonic() - started)
        notifications = await self._relayed(entry, receipt)
        if not receipt.refused:
            return _settlement(entry, State.DELIVERED, notifications=notifications)
        rest = await self._refused(entry, receipt)
        return structs.replace(rest, notifications=notifications + rest.notifications)

    async def _refused(self, entry: Entry, receipt: Receipt) -> Settlement:
        """What is to be said of the recipients whom the destination refused."""
        delay = self._delay_seconds(entry)
        waiting: dict[int, TransientFailure] = {}
        dead: dict[int, DeliveryFailure] = {}
        for each in sorted(receipt.refused, key=lambda each: each.position):
            if delay is not None and isinstance(each.failure, TransientFailure):
                waiting[each.position] = each.failure
            else:
                dead[each.position] = each.failure
        letter = await self._dead_letter(share(entry, [*dead]), [*dead.values()]) if dead else None
        if delay is None or not waiting:
            return cast("Settlement", letter)
        delay = max(delay, *(failure.retry_after_seconds for failure in waiting.values()))
        put_off = self._put_off(share(entry, [*waiting]), together([*waiting.values()]), delay=delay)
        if letter is None:
            return put_off
        dead_letter = DeadLetter(
            recipients=letter.recipients,
            possible_duplicate=letter.possible_duplicate,
            status=letter.status,
            cause=letter.cause,
        )
        return structs.replace(put_off, dead_letter=dead_letter, notifications=letter.notifications)

    def _delay_seconds(self, entry: Entry) -> float | None:
        return self.destination.retries.delay_seconds(entry.attempts, spread=random.random())  # noqa: S311  # a spread

    async def _relayed(self, entry: Entry, receipt: Receipt) -> tuple[Notification, ...]:
        """About those for whom the destination has the mail, unless it tells the originator itself."""
        others = {each.position for each in receipt.refused} | set(receipt.notifying)
        recipients = entry.mail.envelope.envelope.recipients
        places = [place for place, each in enumerate(recipients) if each.parameters and place not in others]
        if not places:
            return ()
        # One for each recipient.
        return await in_thread(lambda _: self.notices.relayed(share(entry, places)))

    async def _settle(self, settlement: Settlement, *, is_ordered: bool) -> None:
        """Say it to the spool until it has heard: what was delivered is not delivered again because a disk was full."""
        while True:
            try:
                await self._spool.settle(settlement, patient=not is_ordered)
            except OSError as error:
                records.spool_failed(self.destination.name, error)
                if self._stopping:
                    # The attempt stays recorded, and is made again as a possible duplicate.
                    return
                await asyncio.sleep(_SPOOL_RETRY_SECONDS)
            else:
                break
        if settlement.state is State.WAITING:
            self._next_due = min(filter(None, (self._next_due, settlement.due)))
            self._changed = True
            self._wake.set()
        if is_ordered:
            # Another may have waited behind this one.
            self._backlog = self._changed = True
        for notification in settlement.notifications:
            self._added(notification.message)

    def _put_off(self, entry: Entry, failure: DeliveryFailure, *, delay: float) -> Settlement:
        possibly_stored = isinstance(failure, TransientFailure) and failure.possibly_stored
        records.put_off(entry, failure, possibly_stored=possibly_stored, delay_seconds=delay)
        return _settlement(
            entry,
            State.WAITING,
            due=now() + delay,
            possible_duplicate=entry.possible_duplicate or possibly_stored,
            status=str(failure.status),
            cause=failure.cause,
        )

    async def _dead_letter(self, entry: Entry, failures: Sequence[DeliveryFailure]) -> Settlement:
        """`failures` has one for each recipient of the entry."""
        # Much of the mail is read, and returned in it.
        notifications = await in_thread(lambda _: self.notices.failed(entry, failures))
        failure = together(failures)
        records.dead_letter(entry, failure, notifications)
        return _settlement(
            entry,
            State.DEAD,
            due=now(),
            possible_duplicate=entry.possible_duplicate
            or (isinstance(failure, TransientFailure) and failure.possibly_stored),
            status=str(failure.status),
            cause=failure.cause,
            notifications=notifications,
        )

    async def _close(self, failure: DestinationClosed) -> None:
        if self._paused:
            return
        self._paused = True
        records.paused(self.destination.name, failure.cause)
        try:
            await self._spool.pause(self.destination.name, now(), _stored(failure.cause))
        except OSError as error:
            # It is paused all the same, until the next start finds out again.
            records.spool_failed(self.destination.name, error)


def _settlement(
    entry: Entry,
    state: State,
    *,
    due: float = 0.0,
    possible_duplicate: bool = False,
    status: str = "",
    cause: str = "",
    notifications: tuple[Notification, ...] = (),
) -> Settlement:
    return Settlement(
        message=entry.message,
        connector=entry.connector,
        part=entry.part,
        recipients=entry.recipients,
        state=state,
        due=due,
        attempts=entry.attempts,
        possible_duplicate=possible_duplicate,
        status=status,
        cause=_stored(cause),
        notifications=notifications,
    )


def _stored(cause: str) -> str:
    # Whatever a connector says.
    return cause[:_LONGEST_CAUSE].encode(errors="backslashreplace").decode()
