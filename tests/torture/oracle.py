"""The verdict: what the clients were told against what the sinks hold. Pure; it knows no process and no file.

    verdict = judge(journal.read(path), {"archive": sink.delivered()}, {"example.org": Route(("archive",), "spooled")})
    assert verdict.is_clean, verdict

For each recipient, and each sink of the recipient's route:

    lost        acknowledged, and neither delivered nor kept as a dead letter
    corrupt     delivered with other octets, or other metadata, than were sent
    ghost       delivered, though never attempted, never sent whole, or not to this recipient
    refused     answered 4xx or 5xx, and delivered all the same
    renamed     delivered under two ids, or under another one than the reply told
    duplicate   delivered twice to one sink under one id; explained on a spooled route where a kill came soon after the
                earlier time and before the later one, for then the gateway cannot know that the earlier one succeeded;
                and each kill only for as many mails as can be under way

Without a final reply nobody knows, and both are right. The same holds for a refused mail that went to several sinks
with `accept = "delivered"`: there a refusal says that not all of them have it, and those that took it keep it.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import inf
from typing import Literal

from tests.torture.journal import Delivered, Ending, Record

__all__ = ["Route", "Verdict", "judge"]

# From when a destination has a mail until the spool knows it too. That is a commit: of 207 duplicates on a busy machine
# the latest was of a mail that a kill followed after 0.16 s. The rest is for a machine that stands still for a moment.
_SETTLED_WITHIN_SECONDS = 2.0
# A sink may write down a little after a kill what was on its way by then.
_NOTED_WITHIN_SECONDS = 0.5
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Route:
    """Where the mail of one domain goes, by the sinks' names, and when it is acknowledged."""

    sinks: tuple[str, ...]
    accept: Literal["delivered", "spooled"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What is wrong, in sentences, and how much there was. `duplicates` counts mails, the explained ones as well."""

    lost: tuple[str, ...] = ()
    corrupt: tuple[str, ...] = ()
    ghosts: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    renamed: tuple[str, ...] = ()
    unexplained_duplicates: tuple[str, ...] = ()
    leftovers: tuple[str, ...] = ()
    attempted: int = 0
    acked: int = 0
    rejected: int = 0
    unknown: int = 0
    delivered: int = 0
    duplicates: int = 0

    @property
    def is_clean(self) -> bool:
        """Whether every promise was kept."""
        return not any(self._faults().values())

    def __str__(self) -> str:
        figures = (
            f"{self.attempted} attempted, {self.acked} acked, {self.rejected} rejected, {self.unknown} unknown; "
            f"{self.delivered} delivered, {self.duplicates} duplicates"
        )
        return "\n".join([figures, *self._shown()])

    def _faults(self) -> dict[str, tuple[str, ...]]:
        return {
            "lost": self.lost,
            "corrupt": self.corrupt,
            "ghosts": self.ghosts,
            "refused, but delivered": self.refused,
            "under another id": self.renamed,
            "unexplained duplicates": self.unexplained_duplicates,
            "left over": self.leftovers,
        }

    def _shown(self) -> Iterator[str]:
        for name, sentences in self._faults().items():
            if sentences:
                yield f"{name}: {len(sentences)}"
                yield from (f"  {sentence}" for sentence in sentences[:_SHOWN])


def judge(
    records: Sequence[Record],
    deliveries: Mapping[str, Sequence[Delivered]],
    routes: Mapping[str, Route],
    *,
    faults: Collection[float] = (),
    held_up: Collection[tuple[float, float]] = (),
    at_each: float = inf,
    dead: Collection[tuple[str, str]] = (),
    leftovers: Iterable[str] = (),
    can_undo: bool = True,
) -> Verdict:
    """Compare what was sent with what each sink, by its name, has, once the gateway is drained.

    `routes` is by the recipients' domain. `faults` are the times of kills, in seconds of the system's clock; each
    explains so many duplicates as `at_each` says, for each sink. `held_up` are the begin and end of what kept the
    gateway from settling anything: such time does not count, but explains nothing. `dead` are the dead letters in the
    spool, as mail id and sink. `leftovers` are sentences about what should not be there any more, and are judged by
    being there. Without `can_undo` a sink may have whole mails that were refused: its disk lets nothing go any more.
    """
    bench = _Bench(routes, faults, held_up, dead, can_undo)
    attempted = {record.attempt.marker: record for record in records}
    for sink, mails in deliveries.items():
        by_marker: defaultdict[str, list[Delivered]] = defaultdict(list)
        for mail in mails:
            by_marker[mail.marker].append(mail)
        for marker, found in by_marker.items():
            if marker in attempted:
                bench.judge_found(sink, attempted[marker], found)
            else:
                bench.ghosts.append(f"{sink} has {found[0].mail_id}, which nobody sent ({marker})")
        for record in records:
            bench.judge_missing(sink, record, by_marker.get(record.attempt.marker, []))
    for (fault, sink), explained in bench.explained.items():
        if len(explained) > at_each:
            said = f"{sink} got {len(explained)} mails again, and the fault at {fault:.3f} explains {at_each}"
            bench.unexplained_duplicates.append(said)
    endings = [outcome.ending for record in records for outcome in record.outcomes]
    return Verdict(
        lost=tuple(bench.lost),
        corrupt=tuple(bench.corrupt),
        ghosts=tuple(bench.ghosts),
        refused=tuple(bench.refused),
        renamed=tuple(bench.renamed),
        unexplained_duplicates=tuple(bench.unexplained_duplicates),
        leftovers=tuple(leftovers),
        attempted=len(records),
        acked=endings.count(Ending.ACKED),
        rejected=endings.count(Ending.REJECTED),
        unknown=endings.count(Ending.UNKNOWN),
        delivered=sum(map(len, deliveries.values())),
        duplicates=bench.duplicates,
    )


@dataclass
class _Bench:
    """The circumstances, and what was found under them so far."""

    routes: Mapping[str, Route]
    faults: Collection[float]
    held_up: Collection[tuple[float, float]]
    dead: Collection[tuple[str, str]]
    can_undo: bool
    lost: list[str] = field(default_factory=list)
    corrupt: list[str] = field(default_factory=list)
    ghosts: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    renamed: list[str] = field(default_factory=list)
    unexplained_duplicates: list[str] = field(default_factory=list)
    explained: defaultdict[tuple[float, str], set[tuple[str, float]]] = field(default_factory=lambda: defaultdict(set))
    duplicates: int = 0

    def judge_missing(self, sink: str, record: Record, found: Sequence[Delivered]) -> None:
        for recipient, outcome in zip(record.attempt.recipients, record.outcomes, strict=True):
            if outcome.ending is not Ending.ACKED or sink not in self._route(recipient).sinks:
                continue
            if not any(recipient in mail.recipients for mail in found) and (outcome.mail_id, sink) not in self.dead:
                self.lost.append(f"{sink} lacks {outcome.mail_id} to {recipient} ({_described(record)})")

    def judge_found(self, sink: str, record: Record, found: Sequence[Delivered]) -> None:
        for mail in found:
            name = f"{mail.mail_id} at {sink} ({_described(record)})"
            if mail.sha256 != record.attempt.sha256:
                self.corrupt.append(f"{name}: the SHA-256 is {mail.sha256} instead of {record.attempt.sha256}")
            if mail.metadata_sha256 != record.attempt.metadata_sha256:
                self.corrupt.append(f"{name}: the metadata is not what was sent")
            self._judge_recipients(sink, record, mail, name)
        told = {outcome.mail_id for outcome in record.outcomes if outcome.ending is Ending.ACKED}
        if len(ids := told | {mail.mail_id for mail in found}) > 1:
            self.renamed.append(f"{_described(record)} at {sink} is {', '.join(sorted(ids))}")
        self._judge_duplicates(sink, record, found)

    def _judge_recipients(self, sink: str, record: Record, mail: Delivered, name: str) -> None:
        outcomes = dict(zip(record.attempt.recipients, record.outcomes, strict=True))
        for recipient in mail.recipients:
            if recipient not in outcomes or sink not in self._route(recipient).sinks:
                self.ghosts.append(f"{name} was not sent to {recipient}")
            elif outcomes[recipient].ending is Ending.UNFINISHED:
                self.ghosts.append(f"{name} was never sent whole")
            elif outcomes[recipient].ending is Ending.REJECTED and self._must_be_undone(record, recipient):
                self.refused.append(f"{name}: {recipient} was answered {outcomes[recipient].code}")

    def _judge_duplicates(self, sink: str, record: Record, found: Sequence[Delivered]) -> None:
        again = 0
        for recipient in record.attempt.recipients:
            times = sorted(mail.at for mail in found if recipient in mail.recipients)
            again = max(again, len(times) - 1)
            for earlier, later in pairwise(times):
                fault = self._explanation(earlier, later) if self._route(recipient).accept == "spooled" else None
                if fault is not None:
                    self.explained[fault, sink].add((record.attempt.marker, later))
                    continue
                self.unexplained_duplicates.append(
                    f"{sink} got it again after {later - earlier:.3f} s without a fault ({_described(record)})"
                )
        self.duplicates += again

    def _explanation(self, earlier: float, later: float) -> float | None:
        return next(
            (
                fault
                for fault in self.faults
                if earlier - _NOTED_WITHIN_SECONDS <= fault <= later
                and fault - earlier - self._held_up_between(earlier, fault) <= _SETTLED_WITHIN_SECONDS
            ),
            None,
        )

    def _held_up_between(self, from_: float, to: float) -> float:
        return sum(max(0.0, min(end, to) - max(begin, from_)) for begin, end in self.held_up)

    def _must_be_undone(self, record: Record, recipient: str) -> bool:
        return self.can_undo and self._refusal_is_for_all_sinks(record, recipient)

    def _refusal_is_for_all_sinks(self, record: Record, recipient: str) -> bool:
        # An SMTP client gets one reply for all recipients; an LMTP client has the recipient's own (RFC 2033 §4.2).
        answered = (recipient,) if record.attempt.mode.startswith("lmtp") else record.attempt.recipients
        concerned = [self._route(each) for each in answered]
        is_one = len({sink for route in concerned for sink in route.sinks}) == 1
        return is_one or all(route.accept == "spooled" for route in concerned)

    def _route(self, recipient: str) -> Route:
        return self.routes.get(recipient.rpartition("@")[2], Route((), "delivered"))


def _described(record: Record) -> str:
    return f"{record.attempt.marker}, {record.attempt.mode}, {record.attempt.size} octets"
