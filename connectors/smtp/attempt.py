"""One attempt to hand a mail to one of several hosts: which is asked first, and when the next one is.

A mail goes to one host. The next is tried only where the one before could not be reached, or put off every recipient
before it had the mail (RFC 5321 §5.1). Among hosts of equal preference those that take metadata come first (MD00 §8.1).
"""

import asyncio
import random
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import groupby

from msgspec import Struct

from connectors.smtp.pool import Pool
from gateway.connector import Mail, PermanentFailure, TransientFailure
from gateway.relay.form import carries_metadata
from gateway.relay.handover import TOO_MANY_RECIPIENTS, Handover, Referred, Verdict
from gateway.relay.session import Access, Session
from gateway.smtp.dialect import SMTP, Dialect
from gateway.smtp.reply import Reply
from gateway.sockets import TcpBind, UnixBind
from gateway.status import DESTINATION_UNRESPONSIVE

__all__ = ["Attempts", "Host", "Outcome"]

# What is only preferred is not waited for long, nor often.
_ASKING_SECONDS = 5
_MOST_REMEMBERED = 1000
_REMEMBERED_SECONDS = 3600
_UNREACHABLE_SECONDS = 60


class Host(Struct, frozen=True, kw_only=True):
    """One address of a server. `name` is what its certificate says; a lower `preference` is tried first."""

    name: str
    server: TcpBind | UnixBind
    preference: int = 0
    dialect: Dialect = SMTP


class Outcome(Struct, frozen=True, kw_only=True):
    """A verdict for each recipient of a mail, in order, and the host that decided; None where none was reached."""

    verdicts: tuple[Verdict, ...]
    host: Host | None = None
    carried: bool = False
    notifies: bool = False


class Attempts:
    """Hands mails to hosts. `access` says how a session begins with one of them, in the name that a mail's gateway has.

    It raises TransientFailure where none can begin.
    """

    def __init__(self, pool: Pool, access: Callable[[Host, Mail], Access]) -> None:
        self._pool = pool
        self._access = access
        # Whether a host took metadata when it was last asked, and how long that counts.
        self._known: OrderedDict[str, tuple[bool, float]] = OrderedDict()

    async def hand_over(self, mail: Mail, hosts: Sequence[Host], *, until: float) -> Outcome:
        """Give the mail to the first of `hosts`, in the order of their preference, that decides about it.

        Hosts of one name stand together. However it ends, the outcome says of each recipient what is known then, by
        the time `until` of the event loop's clock; nothing is raised but what cancels it.
        """
        outcome: Outcome | None = None
        for _, equals in groupby(hosts, lambda host: host.preference):
            for host in await self._in_order(mail, tuple(equals), until):
                found = await self._try(mail, host, until)
                if found.host is not None or outcome is None:
                    outcome = found
                if not _may_go_elsewhere(found) or asyncio.get_running_loop().time() >= until:
                    return outcome
        if outcome is None:
            raise ValueError("a mail is handed to at least one host")
        return outcome

    async def _try(self, mail: Mail, host: Host, until: float) -> Outcome:
        handover: Handover | None = None
        while handover is None or not handover.answered:
            # A second time where the server has closed a connection that was kept, before it could read of this mail.
            try:
                session = await self._take(host, mail, until, fresh=handover is not None)
            except TransientFailure as failure:
                return _failed(mail, failure, None)
            was_kept = session.mails > 0
            try:
                handover = await _send_to_all(session, mail, until)
            except (TransientFailure, PermanentFailure) as failure:
                return _failed(mail, failure, host)
            finally:
                await self._pool.give_back(session)
            if not was_kept:
                break
        return Outcome(verdicts=handover.verdicts, host=host, carried=handover.carried, notifies=handover.notifies)

    async def _take(self, host: Host, mail: Mail, until: float, *, fresh: bool = False) -> Session:
        try:
            async with asyncio.timeout_at(until):
                session = await self._pool.take(host.server, self._access(host, mail), fresh=fresh)
        except TimeoutError as error:
            text, cause = "the next mail server did not answer in time", f"{host.server} did not begin in time"
            raise TransientFailure(DESTINATION_UNRESPONSIVE, text, cause=cause) from error
        self._remember(host.name, takes_metadata=carries_metadata(session.capabilities))
        return session

    # Which of equals is first.

    async def _in_order(self, mail: Mail, equals: Sequence[Host], until: float) -> Sequence[Host]:
        """Hosts of one preference: those that take metadata first, otherwise in any order (RFC 5321 §5.1)."""
        by_name = {name: tuple(hosts) for name, hosts in groupby(equals, lambda host: host.name)}
        if len(by_name) == 1:
            return equals
        names = list(by_name)
        random.shuffle(names)
        unknown = [name for name in names if self._takes_metadata(name) is None]
        if unknown:
            until = min(until, asyncio.get_running_loop().time() + _ASKING_SECONDS)
            async with asyncio.TaskGroup() as asking:
                for name in unknown:
                    asking.create_task(self._ask(by_name[name][0], mail, until))
        names.sort(key=lambda name: not self._takes_metadata(name))
        return [host for name in names for host in by_name[name]]

    async def _ask(self, host: Host, mail: Mail, until: float) -> None:
        """Find out what the host offers; the connection stays for a mail."""
        try:
            await self._pool.give_back(await self._take(host, mail, until))
        except TransientFailure:
            # Whoever gives it the mail is told why.
            self._remember(host.name, takes_metadata=False, seconds=_UNREACHABLE_SECONDS)

    def _takes_metadata(self, name: str) -> bool | None:
        takes, until = self._known.get(name, (None, 0.0))
        return takes if time.monotonic() < until else None

    def _remember(self, name: str, *, takes_metadata: bool, seconds: float = _REMEMBERED_SECONDS) -> None:
        self._known[name] = (takes_metadata, time.monotonic() + seconds)
        self._known.move_to_end(name)
        if len(self._known) > _MOST_REMEMBERED:
            self._known.popitem(last=False)


async def _send_to_all(session: Session, mail: Mail, until: float) -> Handover:
    """Send the mail, and again to those recipients of whom the server said that they were too many at once."""
    first = handover = await session.send(mail, until=until)
    verdicts = list(first.verdicts)
    while any(isinstance(each, Reply | Referred) for each in handover.verdicts) and session.is_open:
        # RFC 5321 §4.5.3.1.10: the remaining ones go in transactions of their own.
        left = [position for position, each in enumerate(verdicts) if _is_one_too_many(each)]
        if not left:
            break
        try:
            handover = await session.send(mail.for_recipients(left), until=until)
        except (TransientFailure, PermanentFailure):
            # What was decided before stands, and those who were too many come again.
            break
        for position, each in zip(left, handover.verdicts, strict=True):
            verdicts[position] = each
    return replace(first, verdicts=tuple(verdicts))


def _is_one_too_many(verdict: Verdict) -> bool:
    return isinstance(verdict, TransientFailure) and verdict.status == TOO_MANY_RECIPIENTS


def _may_go_elsewhere(outcome: Outcome) -> bool:
    return all(
        isinstance(each, TransientFailure) and not isinstance(each, Referred) and not each.possibly_stored
        for each in outcome.verdicts
    )


def _failed(mail: Mail, failure: TransientFailure | PermanentFailure, host: Host | None) -> Outcome:
    return Outcome(verdicts=(failure,) * len(mail.envelope.envelope.recipients), host=host)
