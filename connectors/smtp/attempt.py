"""One attempt to hand a mail to one of several hosts: which is asked first, and when the next one is.

A mail goes to one host. The next is tried only where the one before could not be reached, or put off every recipient
before it had the mail (RFC 5321 §5.1). Among hosts of equal preference those that take metadata come first (MD00 §8.1).
"""

import asyncio
import random
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import groupby

from msgspec import Struct

from connectors.smtp.pool import Pool
from gateway.connector import Mail, PermanentFailure, TransientFailure
from gateway.relay.form import carries_metadata
from gateway.relay.handover import Handover, Referred, Verdict
from gateway.relay.session import Access, Session
from gateway.smtp.dialect import SMTP, Dialect
from gateway.smtp.reply import Reply
from gateway.sockets import TcpBind, UnixBind
from gateway.status import DESTINATION_UNRESPONSIVE, Status

__all__ = ["Attempts", "Host", "Outcome"]

# What is only preferred is not waited for long, nor often.
_ASKING_SECONDS = 5
_MOST_REMEMBERED = 1000
_REMEMBERED_SECONDS = 3600
_UNREACHABLE_SECONDS = 60

_TOO_MANY_RECIPIENTS = Status(4, 5, 3)


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
        running = _Running()
        try:
            async with asyncio.timeout_at(until):
                return await self._hand_over(mail, hosts, running)
        except TimeoutError as error:
            failure = TransientFailure(
                DESTINATION_UNRESPONSIVE,
                "the next mail server did not answer in time",
                cause=f"{running.server} did not finish in time",
                possibly_stored=running.session is not None and running.session.all_sent,
            )
            failure.__cause__ = error
            return _failed(mail, failure, running.host)

    async def _hand_over(self, mail: Mail, hosts: Sequence[Host], running: "_Running") -> Outcome:
        outcome: Outcome | None = None
        for _, equals in groupby(hosts, lambda host: host.preference):
            for host in await self._in_order(mail, tuple(equals)):
                running.host = host
                found = await self._try(mail, host, running)
                if found.host is not None or outcome is None:
                    outcome = found
                if not _may_go_elsewhere(found):
                    return found
        if outcome is None:
            raise ValueError("a mail is handed to at least one host")
        return outcome

    async def _try(self, mail: Mail, host: Host, running: "_Running") -> Outcome:
        try:
            handover = await self._send(mail, host, running)
            if not handover.answered and running.reused:
                # The server has closed a connection that was kept, before it could read of this mail.
                handover = await self._send(mail, host, running, fresh=True)
        except TransientFailure as failure:
            return _failed(mail, failure, None if running.session is None else host)
        except PermanentFailure as failure:
            return _failed(mail, failure, host)
        return Outcome(verdicts=handover.verdicts, host=host, carried=handover.carried, notifies=handover.notifies)

    async def _send(self, mail: Mail, host: Host, running: "_Running", *, fresh: bool = False) -> Handover:
        running.session = None
        session = await self._take(host, mail, fresh=fresh)
        running.session, running.reused = session, session.mails > 0
        try:
            return await _send_to_all(session, mail)
        finally:
            await self._pool.give_back(session)

    async def _take(self, host: Host, mail: Mail, *, fresh: bool = False) -> Session:
        session = await self._pool.take(host.server, self._access(host, mail), fresh=fresh)
        self._remember(host.name, takes_metadata=carries_metadata(session.capabilities))
        return session

    # Which of equals is first.

    async def _in_order(self, mail: Mail, equals: Sequence[Host]) -> Sequence[Host]:
        """Hosts of one preference: those that take metadata first, otherwise in any order (RFC 5321 §5.1)."""
        by_name = {name: tuple(hosts) for name, hosts in groupby(equals, lambda host: host.name)}
        if len(by_name) == 1:
            return equals
        names = list(by_name)
        random.shuffle(names)
        unknown = [name for name in names if self._takes_metadata(name) is None]
        if unknown:
            async with asyncio.TaskGroup() as asking:
                for name in unknown:
                    asking.create_task(self._ask(by_name[name][0], mail))
        names.sort(key=lambda name: not self._takes_metadata(name))
        return [host for name in names for host in by_name[name]]

    async def _ask(self, host: Host, mail: Mail) -> None:
        """Find out what the host offers; the connection stays for a mail."""
        try:
            async with asyncio.timeout(_ASKING_SECONDS):
                await self._pool.give_back(await self._take(host, mail))
        except (TransientFailure, TimeoutError):
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


class _Running:
    """How far an attempt has come."""

    def __init__(self) -> None:
        self.host: Host | None = None
        self.session: Session | None = None
        self.reused = False

    @property
    def server(self) -> str:
        return str(self.host.server) if self.host is not None else "no server"


async def _send_to_all(session: Session, mail: Mail) -> Handover:
    """Send the mail, and again to those recipients of whom the server said that they were too many at once."""
    handover = await session.send(mail)
    verdicts = list(handover.verdicts)
    while any(isinstance(each, Reply | Referred) for each in handover.verdicts) and session.is_open:
        # RFC 5321 §4.5.3.1.10: the remaining ones go in transactions of their own.
        left = [position for position, each in enumerate(verdicts) if _is_one_too_many(each)]
        if not left:
            break
        handover = await session.send(mail.for_recipients(left))
        for position, each in zip(left, handover.verdicts, strict=True):
            verdicts[position] = each
    return Handover(
        verdicts=tuple(verdicts), carried=handover.carried, notifies=handover.notifies, answered=handover.answered
    )


def _is_one_too_many(verdict: Verdict) -> bool:
    return isinstance(verdict, TransientFailure) and verdict.status == _TOO_MANY_RECIPIENTS


def _may_go_elsewhere(outcome: Outcome) -> bool:
    return all(
        isinstance(each, TransientFailure) and not isinstance(each, Referred) and not each.possibly_stored
        for each in outcome.verdicts
    )


def _failed(mail: Mail, failure: TransientFailure | PermanentFailure, host: Host | None) -> Outcome:
    return Outcome(verdicts=(failure,) * len(mail.envelope.envelope.recipients), host=host)
