"""What the project set out to reach, and what was measured of it: each goal with its verdict."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from tests.bench.load import KB, MB, Load, generated, smtp_source
from tests.bench.results import Cell, Measured
from tests.bench.tables import time

__all__ = ["Goal", "goals", "idle_bytes", "puts_per_second"]

_MIB = 1024 * 1024
_SESSIONS = (1, 20, 200, 1000, 2000)
_SIZES = (KB, 20 * KB, MB, 10 * MB)
# What is full load, where the event loop is judged.
_MANY = 200
# What a busy load generator uses of its core.
_BUSY = 0.9
# The `message` layout stores the content, the containers (our own trace at least) and the envelope.
_PUTS_PER_MAIL = 3
_AT_LEAST, _AT_MOST = "≥", "≤"
# Why a goal may be out of reach, for as long as it is.
_FLAT = (
    'a mail passes the protocol engine, the envelope, delivery and the log, and below, under "Where the time goes", no '
    "part of that stands out; canned replies are what the same event loop reaches without them"
)
_NOT_FEWER = (
    "of small content the two are nearly the same work: what BDAT saves is the search for the end, what it adds is a "
    "count to check, and the rounds of either command differ by more than the commands do"
)
_SAME_WORK = (
    "content without dots costs DATA one search for a dot; reading, line ends, digest and file, the columns of 10 MB "
    'under "Where the time goes", are work of both'
)
_AIOKAFKA = "aiokafka by itself, with no mail to take, bounds every gateway that uses it, and shares its core with SMTP"
_TWO_CORES = "the generator needs part of a core, and so does the broker, where there is one; here are no more than two"
_REQUESTS = (
    "a request takes the CPU for an object that is said below, of one core in however many threads, and the store "
    "needs the other; the `batch` layout makes one for many mails"
)
_BOUNDS = "where the processor is the bound, `batch` is ahead by what the two take of it for a mail, and no more"
_NOT_PIPELINED = (
    "`smtp-source` waits for each of four replies to a mail, and the event loop and the sockets, below, are what that "
    "takes; pipelined it is half as many"
)
_ANOTHER_COMMAND = (
    "a container is a command with a reply of its own, checked and shown in the envelope, and no part of a mail stands "
    'out in what it adds: the columns by BDAT under "Where the time goes"'
)
_LAG = (
    "a turn of the event loop serves whoever is ready, and so lasts the longer the more sessions there are, as "
    '"Throughput against sessions" shows; requests of S3 run in threads, which have the interpreter in turns with the '
    "loop; and the generator, brokers and stores have the same two cores"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """In words, and in figures. `reached` is None where this run did not measure it; `note` says what to know of it.

    `why` is what stands in the way.
    """

    text: str
    sign: Literal["≥", "≤"]
    wanted: float
    reached: float | None
    unit: str = "times"
    note: str = ""
    why: str = ""

    @property
    def verdict(self) -> Literal["reached", "nearest", "not measured"]:
        """A goal that is not reached has the nearest figure."""
        if self.reached is None:
            return "not measured"
        is_reached = self.reached >= self.wanted if self.sign == _AT_LEAST else self.reached <= self.wanted
        return "reached" if is_reached else "nearest"


def goals(measured: Measured) -> list[Goal]:
    """All of them, in the order in which they were set."""
    return [*_engine(measured), *_kafka(measured), *_spool(measured), *_s3(measured), *_costs(measured)]


def idle_bytes(measured: Measured, sessions: int) -> float | None:
    """Resident memory with so many idle sessions; in proportion where fewer were measured."""
    single = measured.single
    if "idle sessions" not in single:
        return None
    grown = single["idle bytes with"] - single["idle bytes before"]
    return single["idle bytes before"] + grown / single["idle sessions"] * sessions


def puts_per_second(measured: Measured) -> float | None:
    """Objects a second that the `message` layout stores."""
    rate = measured.rate("destinations", "S3 message", generated(KB, 200, "BDAT"))
    return None if rate is None else rate * _PUTS_PER_MAIL


def _engine(measured: Measured) -> Iterator[Goal]:
    for size, wanted in ((KB, 0.6), (MB, 0.9)):
        load = smtp_source(size, 20)
        reached = _ratio(measured, "peers", ("engine", load), ("smtp-sink", load))
        note = _also("canned replies", _ratio(measured, "peers", ("canned replies", load), ("smtp-sink", load)))
        text = f"Engine alone to `smtp-sink`, {_size(size)} by DATA, many mails in a connection"
        yield _least(text, wanted, reached, note=note, why=_FLAT)
    by_size = [_ratio(measured, "commands", ("engine", _bdat(size)), ("engine", _data(size))) for size in _SIZES]
    known = zip(_SIZES, by_size, strict=True)
    note = ", ".join(f"{_size(size)}: {ratio:.2f}" for size, ratio in known if ratio is not None)
    yield _least("BDAT to DATA, whatever the size (the worst)", 1.0, _worst(by_size, min), note=note, why=_NOT_FEWER)
    yield _least("BDAT to DATA at 10 MB", 1.5, by_size[-1], why=_SAME_WORK)


def _kafka(measured: Measured) -> Iterator[Goal]:
    load = smtp_source(KB, 200)
    for peer, wanted in (("aiosmtpd + aiokafka", 5.0), ("smtp-sink", 0.4), ("Haraka", 1.0)):
        reached = _ratio(measured, "crowd", ("Kafka", load), (peer, load))
        notes = [_also("two workers", _ratio(measured, "crowd", ("Kafka, 2 workers", load), (peer, load)))]
        alone, rate = measured.single.get("records per second"), measured.rate("crowd", peer, load)
        if alone and rate:
            notes.append(_also("aiokafka by itself", alone / rate))
        text = f"Kafka, `acks=all`, 200 sessions, 1 KB, to {_mark(peer)}"
        yield _least(text, wanted, reached, note="; ".join(filter(None, notes)), why=_AIOKAFKA)


def _spool(measured: Measured) -> Iterator[Goal]:
    for sheet, load, wanted, why in (
        ("spool", smtp_source(KB, 80), 5.0, _NOT_PIPELINED),
        ("spool", generated(KB, 80, "DATA"), 5.0, ""),
        ("peers", smtp_source(MB, 20), 1.0, ""),
    ):
        # Postfix has processes for every core, too.
        reached = _to_postfix(measured, sheet, "spool, 2 workers", load)
        notes = [_also("one worker", _to_postfix(measured, sheet, "spool", load))]
        if load == smtp_source(KB, 80):
            for other, sessions in (("peers", 20), ("crowd", 200)):
                ratio = _to_postfix(measured, other, "spool, 2 workers", smtp_source(KB, sessions))
                notes.append(_also(f"two workers, {sessions} sessions", ratio))
        text = f"Spooled, synced before each 250, by two workers, to Postfix, {load.manner}"
        yield _least(text, wanted, reached, note="; ".join(filter(None, notes)), why=why)
    load = _bdat(KB, 200)
    for name in ("engine", "spool", "Kafka"):
        twice = f"{name}, 2 workers"
        reached = _ratio(measured, "workers", (twice, load), (name, load))
        note = _generator(measured, twice, load)
        yield _least(f"Two workers to one: {name}", 1.6, reached, note=note, why=_TWO_CORES)


def _s3(measured: Measured) -> Iterator[Goal]:
    load = _bdat(KB, 200)
    reached = _ratio(measured, "destinations", ("S3 batch", load), ("S3 message", load))
    by_message, by_batch = (_cpu(measured, "destinations", name, load) for name in ("S3 message", "S3 batch"))
    note = _also("processor time for a mail, `message` to `batch`", by_message and by_batch and by_message / by_batch)
    yield _least("S3, `batch` to `message` layout, mails a second", 10.0, reached, note=note, why=_BOUNDS)
    store, puts = measured.single.get("store puts per second"), puts_per_second(measured)
    reached = puts / store if store and puts else None
    text = "S3, `message` layout: objects a second to what the store takes by itself"
    yield _least(text, 1.0, reached, why=_REQUESTS)


def _costs(measured: Measured) -> Iterator[Goal]:
    costs = []
    for name in ("engine", "spool", "Kafka"):
        for size in (KB, 20 * KB):
            with_them = ("metadata", (name, generated(size, 200, "BDAT", containers=2)), (name, _bdat(size, 200)))
            kept = _ratio(measured, *with_them)
            costs.append(None if kept is None else 100 * (1 - kept))
    text = "Two metadata containers in each mail cost (the worst)"
    yield _most(text, 10.0, _worst(costs, max), "%", note=_of_each(measured), why=_ANOTHER_COMMAND)
    idle = idle_bytes(measured, 10_000)
    sessions = measured.single.get("idle sessions", 10_000)
    note = "" if sessions >= 10_000 else f"in proportion: descriptors were enough for {sessions:,.0f}"
    yield _most("10,000 idle sessions", 160.0, idle and idle / _MIB, "MiB", note=note)
    grown = [measured.single.get(f"large {command} growth bytes") for command in ("BDAT", "DATA")]
    yield _most("A message of 5 GB: memory grows by", 64.0, _worst([it and it / _MIB for it in grown], max), "MiB")
    start, million = "Start with 1,000,000 mails in the spool", "restart 1000000"
    yield _most(f"{start}: first 250 after", 5.0, measured.single.get(f"{million} first 250 seconds"), "s")
    growth = measured.single.get(f"{million} growth bytes")
    yield _most(f"{start}: memory grows by", 128.0, growth and growth / _MIB, "MiB")
    # Only ours have the figure.
    all_lags = (
        (lag, f"{cell.contender}, {cell.load}")
        for cell in measured.cells
        if cell.load.sessions >= _MANY and (lag := _lag(cell)) is not None
    )
    worst, where = max(all_lags, default=(None, ""))
    text = f"Event-loop lag at full load, p99: every table, {_MANY} sessions or more (the worst)"
    yield _most(text, 20.0, worst, "ms", note=where, why=_LAG)
    lags = [_lag(measured.cell("crowd", name, smtp_source(KB, _MANY))) for name in ("engine", "spool", "Kafka")]
    text = f"The same: engine, spool and Kafka by one worker, beside their peers, {_MANY} sessions (the worst)"
    yield _most(text, 20.0, _worst(lags, max), "ms", why=_LAG)
    shares = [_share_of_best(measured, name) for name in ("engine", "spool", "Kafka")]
    yield _least("2,000 sessions to the best number of sessions (the worst)", 0.8, _worst(shares, min))


def _least(text: str, wanted: float, reached: float | None, *, note: str = "", why: str = "") -> Goal:
    return Goal(text=text, sign=_AT_LEAST, wanted=wanted, reached=reached, note=note, why=why)


def _most(text: str, wanted: float, reached: float | None, unit: str, *, note: str = "", why: str = "") -> Goal:
    return Goal(text=text, sign=_AT_MOST, wanted=wanted, reached=reached, unit=unit, note=note, why=why)


def _of_each(measured: Measured) -> str:
    """What a container and a recipient take of the processor in the engine."""
    bare, containers = (_cpu(measured, "metadata", "engine", generated(KB, 200, "BDAT", containers=n)) for n in (0, 2))
    one, ten = (_cpu(measured, "recipients", "engine", generated(KB, 20, "BDAT", recipients=n)) for n in (1, 10))
    if bare is None or containers is None or one is None or ten is None:
        return ""
    container, recipient = time((containers - bare) / 2), time((ten - one) / 9)
    return f"engine: {container} of the processor for a container, {recipient} for a recipient"


def _cpu(measured: Measured, sheet: str, contender: str, load: Load) -> float | None:
    """Processor time for a mail."""
    cell = measured.cell(sheet, contender, load)
    spread = cell and cell.spread(lambda run: run.cpu_seconds / run.mails)
    return spread.median if spread else None


def _to_postfix(measured: Measured, sheet: str, contender: str, load: Load) -> float | None:
    return _ratio(measured, sheet, (contender, load), ("Postfix", load))


def _also(what: str, ratio: float | None) -> str:
    return f"{what}: {ratio:.2f} times" if ratio is not None else ""


def _ratio(measured: Measured, sheet: str, of: tuple[str, Load], to: tuple[str, Load]) -> float | None:
    first, second = measured.rate(sheet, *of), measured.rate(sheet, *to)
    return first / second if first is not None and second else None


def _worst(figures: Sequence[float | None], choose: Callable[[Iterable[float]], float]) -> float | None:
    """None unless all were measured."""
    known = [figure for figure in figures if figure is not None]
    return choose(known) if len(known) == len(figures) else None


def _lag(cell: Cell | None) -> float | None:
    spread = cell and cell.spread(lambda run: run.lag_p99_seconds)
    return spread.median * 1000 if spread else None


def _share_of_best(measured: Measured, contender: str) -> float | None:
    rates = [measured.rate("sessions", contender, _bdat(KB, sessions)) for sessions in _SESSIONS]
    best = _worst(rates, max)
    return rates[-1] / best if best and rates[-1] else None


def _generator(measured: Measured, contender: str, load: Load) -> str:
    cell = measured.cell("workers", contender, load)
    share = cell and cell.spread(lambda run: run.generator_cpu_seconds / run.seconds)
    if not share:
        return ""
    used = f"the generator used {share.median:.0%} of a core"
    return f"{used}: it was the bottleneck" if share.median > _BUSY else used


def _bdat(size: int, sessions: int = 20) -> Load:
    return generated(size, sessions, "BDAT")


def _data(size: int) -> Load:
    return generated(size, 20, "DATA")


def _size(octets: int) -> str:
    return f"{octets // MB} MB" if octets >= MB else f"{octets // KB} KB"


def _mark(name: str) -> str:
    return f"`{name}`" if name == "smtp-sink" else name
