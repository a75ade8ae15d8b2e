"""An examination: every check that applies, one after another, each in a session of its own.

A server may be silent, may answer without end or with what is no reply: each wait is bounded, so is what is read, and
so is the whole. That a check could not be made is said, and is no failure of the server.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from enum import StrEnum

from msgspec import Struct

from gateway.conformance.check import CHECKS, Check, End, Expect, Hello, Requirement, Say
from gateway.conformance.conversation import Conversation, Heard, NoReply, Tls, Unreachable, connect
from gateway.conformance.notation import escape
from gateway.conformance.observations import OBSERVATIONS, Observation, Said
from gateway.smtp.dialect import Dialect
from gateway.sockets import TcpBind, UnixBind

__all__ = ["REQUIREMENTS", "Finding", "Outcome", "Patience", "Target", "examine"]

REQUIREMENTS = (*(check.requirement for check in CHECKS), *(each.requirement for each in OBSERVATIONS))
"""All that an examination looks at."""

# What every session has, whichever check it is for.
_GREETING = Expect(("220",), closing=False, given=True)
_HELLO = Expect(("2",), closing=False, given=True)
_TLS_READY = Expect(("220",), closing=False, given=True)
_QUIT = Expect(("221",), closing=False, given=False)

_WITHOUT_STATUS = (b"", b"EHLO", b"HELO", b"LHLO")
_SHOWN = 300
_HEARD_OCTETS = 4 * 1024 * 1024


class Outcome(StrEnum):
    """What became of a check."""

    PASSED = "passed"
    FAILED = "failed"
    ADVISED = "advised"  # something that the server need not do, but should
    NOT_OFFERED = "not offered"
    SKIPPED = "skipped"


class Finding(Struct, frozen=True, kw_only=True):
    """A check and its outcome. `sent`, `expected` and `came` are about the reply that decided it, empty where none did.

    `exchange` is the whole conversation, in the escapes of a transcript. Nothing in it can move a terminal's cursor.
    """

    name: str
    title: str
    rules: tuple[str, ...]
    sources: tuple[str, ...]
    level: str
    outcome: Outcome
    reason: str = ""
    sent: str = ""
    expected: str = ""
    came: str = ""
    why: str = ""
    exchange: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long the server has for one reply, and for everything."""

    reply_seconds: float = 20
    seconds: float = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The server, and whom mail is sent to there: nobody, where `recipient` is empty. Addresses have no brackets."""

    server: TcpBind | UnixBind
    dialect: Dialect
    hello_name: str
    sender: str = ""
    recipient: str = ""
    tls: Tls | None = None
    patience: Patience = field(default_factory=Patience)


async def examine(
    target: Target, names: Collection[str] | None = None, checks: Sequence[Check] = CHECKS
) -> AsyncIterator[Finding]:
    """Make the checks, those called `names` or all, and yield what was found, as it is found.

    Raises Unreachable when there is no session with the server to begin with.
    """
    run = _Run(target)
    await run.look()
    for check in checks:
        if run.concerns(check.requirement, names):
            yield await run.make(check)
    for observation in OBSERVATIONS:
        if run.concerns(observation.requirement, names):
            yield run.judge(observation)


class _Mismatch(Exception):
    """A reply is not what is expected."""

    def __init__(self, sent: bytes, expected: Expect, came: str, *, malformed: bool = False) -> None:
        super().__init__(came)
        self.sent = escape(sent[-_SHOWN:])
        self.expected = expected
        self.came = came
        # What is no reply is wrong wherever it comes.
        self.excuses = expected.given and not malformed


class _Run:
    def __init__(self, target: Target) -> None:
        self._target = target
        self._protocol = target.dialect.name.lower()
        self._heard: list[Heard] = []
        self._heard_octets = 0
        self._hello_lines: tuple[str, ...] = ()
        self._ends_at = time.monotonic() + target.patience.seconds

    async def look(self) -> None:
        """See what the server offers. Raises Unreachable."""
        try:
            async with self._session() as conversation:
                self._hello_lines = await self._hello(conversation)
                await self._quit(conversation)
        except NoReply as error:
            raise Unreachable(f"{self._target.server} is there, but {error}") from error
        except _Mismatch as error:
            if error.expected is not _QUIT:
                raise Unreachable(f"{self._target.server} does not begin a session: {error.came}") from error

    def concerns(self, requirement: Requirement, names: Collection[str] | None) -> bool:
        """Whether it is asked for, and about this protocol."""
        return self._protocol in requirement.protocols and (names is None or requirement.name in names)

    def judge(self, observation: Observation) -> Finding:
        """What was found by listening."""
        requirement = observation.requirement
        if lacking := self._lacking(requirement):
            return lacking
        tls = self._target.tls
        if observation.about_starttls and (tls is None or tls.implicit):
            return _finding(requirement, Outcome.SKIPPED, reason="it needs --tls starttls")
        if fault := observation.fault(Said(heard=self._heard, hello_lines=self._hello_lines)):
            return _finding(requirement, _against(requirement), reason=fault)
        return _finding(requirement, Outcome.PASSED)

    async def make(self, check: Check) -> Finding:
        """Have the conversation of a check."""
        requirement = check.requirement
        if lacking := self._lacking(requirement):
            return lacking
        if check.needs_recipient and not self._target.recipient:
            return _finding(requirement, Outcome.SKIPPED, reason="it needs a recipient; say whom by --to")
        if time.monotonic() > self._ends_at:
            reason = f"{self._target.patience.seconds:g} seconds were not enough for all checks"
            return _finding(requirement, Outcome.SKIPPED, reason=reason)
        exchange: list[str] = []
        try:
            async with self._session(exchange) as conversation:
                await self._converse(check, conversation)
        except _Mismatch as error:
            return _finding(
                requirement,
                Outcome.SKIPPED if error.excuses else _against(requirement),
                reason="it does not come to what is to be checked" if error.excuses else "",
                sent=error.sent,
                expected=str(error.expected),
                came=error.came,
                exchange=exchange,
            )
        except (NoReply, Unreachable) as error:
            return _finding(requirement, Outcome.SKIPPED, reason=str(error), exchange=exchange)
        return _finding(requirement, Outcome.PASSED, exchange=exchange)

    def _lacking(self, requirement: Requirement) -> Finding | None:
        offered = Said(heard=(), hello_lines=self._hello_lines).keywords
        missing = [keyword for keyword in requirement.needs if keyword not in offered]
        if not missing:
            return None
        return _finding(requirement, Outcome.NOT_OFFERED, reason=f"the server does not offer {' or '.join(missing)}")

    async def _converse(self, check: Check, conversation: Conversation) -> None:
        values = self._values(check)
        sent = said = b""
        for step in check.steps:
            match step:
                case Hello():
                    await self._hello(conversation)
                case Say():
                    sent += step.octets(values)
                case Expect():
                    if sent:
                        await conversation.say(sent)
                        sent, said = b"", sent
                    if not await self._expect(conversation, step, said):
                        return
                case End():
                    return
        await self._quit(conversation)

    async def _expect(self, conversation: Conversation, expected: Expect, said: bytes) -> bool:
        """Whether the conversation goes on. Raises _Mismatch."""
        try:
            # RFC 2034 §4: no status code in a greeting, nor in the reply to a hello.
            reply = await conversation.reply(with_status=said[:4].upper() not in _WITHOUT_STATUS)
        except NoReply as error:
            if error.closed and expected.closing:
                return False
            raise _Mismatch(said, expected, str(error), malformed=error.malformed) from error
        if not expected.accepts(reply.code):
            raise _Mismatch(said, expected, escape(conversation.heard[-1].octets[:_SHOWN]))
        return True

    async def _hello(self, conversation: Conversation) -> tuple[str, ...]:
        said = self._greeting_line()
        await conversation.say(said)
        await self._expect(conversation, _HELLO, said)
        return conversation.heard[-1].reply.lines[1:]

    async def _quit(self, conversation: Conversation) -> None:
        # Behind it nothing is due any more: a reply too many stands before the 221.
        await conversation.say(b"QUIT\r\n")
        await self._expect(conversation, _QUIT, b"QUIT\r\n")

    @asynccontextmanager
    async def _session(self, exchange: list[str] | None = None) -> AsyncIterator[Conversation]:
        """A session that has been greeted, and is under TLS where that is asked for."""
        tls, seconds = self._target.tls, self._target.patience.reply_seconds
        async with connect(self._target.server, tls, seconds=seconds) as conversation:
            try:
                async with asyncio.timeout(max(0, self._ends_at - time.monotonic()) + seconds):
                    await self._expect(conversation, _GREETING, b"")
                    if tls is not None and not tls.implicit:
                        await self._hello(conversation)
                        await conversation.say(b"STARTTLS\r\n")
                        await self._expect(conversation, _TLS_READY, b"STARTTLS\r\n")
                        await conversation.start_tls(tls)
                    yield conversation
            except TimeoutError:
                raise NoReply("the time for all checks was over") from None
            finally:
                self._remember(conversation.heard)
                if exchange is not None:
                    exchange += conversation.exchange

    def _remember(self, heard: Sequence[Heard]) -> None:
        # A server that says little says all of it within this; of one that floods, the beginning is judged.
        for each in heard:
            self._heard_octets += len(each.octets)
            if self._heard_octets <= _HEARD_OCTETS:
                self._heard.append(each)

    def _greeting_line(self) -> bytes:
        return self._target.dialect.extended_hello + f" {self._target.hello_name}\r\n".encode()

    def _values(self, check: Check) -> dict[str, bytes]:
        target = self._target
        message = (
            f"From: <{target.recipient}>\r\nTo: <{target.recipient}>\r\nDate: {formatdate()}\r\n"
            f"Subject: conformance check {check.requirement.name}\r\n\r\n"
            "This mail checks whether its server keeps the rules of SMTP. It may be deleted.\r\n"
        ).encode()
        return {
            "hello": self._greeting_line().removesuffix(b"\r\n"),
            "verb": target.dialect.extended_hello,
            "domain": target.hello_name.encode(),
            "from": target.sender.encode(),
            "to": target.recipient.encode(),
            "message": message,
            "octets": str(len(message)).encode(),
        }


def _against(requirement: Requirement) -> Outcome:
    return Outcome.FAILED if requirement.must else Outcome.ADVISED


def _finding(requirement: Requirement, outcome: Outcome, *, exchange: Sequence[str] = (), **facts: str) -> Finding:
    return Finding(
        name=requirement.name,
        title=requirement.title,
        rules=requirement.rules,
        sources=requirement.sources,
        level="must" if requirement.must else "should",
        outcome=outcome,
        why=requirement.why,
        exchange=tuple(exchange),
        **facts,
    )
