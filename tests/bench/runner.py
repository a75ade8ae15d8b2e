"""Measures in turns: in each round every contender of a sheet gets every load once, and the others have nothing to do.

How many mails a turn has is found by a turn before the first round: as many as the contender takes in the seconds that
a turn is to last, and some for each session in any case.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack

from tests.bench.accounting import Meter
from tests.bench.contender import Contender
from tests.bench.load import KB, MB, Failed, Load, send
from tests.bench.plan import CONTENDERS, Sheet
from tests.bench.results import Cell, Run
from tests.bench.servers import Servers
from tests.servers.processes import StartFailed, Unavailable

__all__ = ["Turns"]

_FEWEST = 20
_MOST = 200_000
# For each session of small mails: fewer would be a measure of connecting. Of many sessions the turns would be too long.
_IN_A_SESSION = 20
_FEWEST_IN_A_SESSION = 5
_ENOUGH = 4_000
_SMALL = 64 * KB
_WARM_UP_OCTETS = 64 * MB
_WARM_UP_MAILS = 400


class Turns:
    """Measures sheets. Afterwards `versions` has those of all who took part, `missing` why others did not."""

    def __init__(self, *, rounds: int, seconds: float, say: Callable[[str], None]) -> None:
        self.versions: dict[str, str] = {}
        self.missing: dict[str, str] = {}
        self._rounds = rounds
        self._seconds = seconds
        self._say = say

    def measure(self, sheet: Sheet) -> Iterator[Cell]:
        """Every cell of the sheet whose contender can be had here; with its failure where that does not start."""
        with ExitStack() as running:
            contenders, failures = self._started(sheet, running)
            cells = [(name, load) for name, load in sheet.cells() if name in contenders]
            yield from self._in_turns(sheet, contenders, cells)
        for name, load in sheet.cells():
            if name in failures:
                yield Cell(sheet=sheet.name, contender=name, load=load, runs=(), failure=failures[name])

    def _started(self, sheet: Sheet, running: ExitStack) -> tuple[dict[str, Contender], dict[str, str]]:
        servers = Servers(running)
        contenders = {}
        failures = {}
        for name in dict.fromkeys(name for name, _ in sheet.cells()):
            try:
                contender = running.enter_context(CONTENDERS[name](servers))
            except (Unavailable, StartFailed) as reason:
                reasons = self.missing if isinstance(reason, Unavailable) else failures
                reasons[name] = str(reason).splitlines()[0]
                self._say(f"{name} takes no part: {reason}")
                continue
            self.versions[name] = contender.version
            contenders[name] = contender
        for contender in contenders.values():
            contender.settle()
        return contenders, failures

    def _in_turns(
        self, sheet: Sheet, contenders: Mapping[str, Contender], cells: Sequence[tuple[str, Load]]
    ) -> Iterator[Cell]:
        runs: dict[tuple[str, Load], list[Run]] = {cell: [] for cell in cells}
        failures: dict[tuple[str, Load], str] = {}
        mails: dict[tuple[str, Load], int] = {}
        for number in range(self._rounds + 1):
            for cell in cells:
                if cell in failures:
                    continue
                name, load = cell
                try:
                    run = _turn(contenders[name], load, mails.get(cell) or _warm_up(load))
                except (Failed, StartFailed, TimeoutError) as failure:
                    failures[cell] = str(failure)
                    self._say(f"{sheet.name}: {name}, {load}: {failure}")
                    continue
                if number > 0:
                    runs[cell].append(run)
                    self._say(f"{sheet.name} {number}/{self._rounds}: {name}, {load}: {run.mails / run.seconds:,.0f}/s")
                else:
                    mails[cell] = _count(run, self._seconds, load)
        for name, load in cells:
            found = tuple(runs[name, load])
            yield Cell(sheet=sheet.name, contender=name, load=load, runs=found, failure=failures.get((name, load), ""))


def _turn(contender: Contender, load: Load, mails: int) -> Run:
    # Meanwhile the others had their turns, and the system may have taken memory back from who did nothing.
    send(load, contender.ports[load.dialect], _to_come_back(load))
    contender.settle()
    meter = Meter(contender.pids)
    began = time.monotonic()
    sent = send(load, contender.ports[load.dialect], mails)
    ended = time.monotonic()
    emptied_seconds = contender.settle()
    usage = meter.read()
    lags = sorted(contender.lags(began, ended))
    return Run(
        mails=sent.mails,
        seconds=sent.seconds,
        cpu_seconds=usage.cpu_seconds,
        resident_bytes=usage.resident_bytes,
        written_bytes=usage.written_bytes,
        generator_cpu_seconds=sent.cpu_seconds,
        emptied_seconds=emptied_seconds,
        p50_seconds=sent.p50_seconds,
        p99_seconds=sent.p99_seconds,
        lag_p99_seconds=lags[len(lags) * 99 // 100] if lags else None,
    )


def _to_come_back(load: Load) -> int:
    return max(load.sessions, min(_WARM_UP_MAILS, _WARM_UP_OCTETS // load.size))


def _warm_up(load: Load) -> int:
    return max(_fewest(load), _to_come_back(load))


def _count(run: Run, seconds: float, load: Load) -> int:
    return max(_fewest(load), min(_MOST, int(run.mails / run.seconds * seconds)))


def _fewest(load: Load) -> int:
    if load.size > _SMALL or load.one_each:
        return max(_FEWEST, load.sessions)
    # One command at a time, the connections of `smtp-source` count for more; and no store has a turn of it.
    enough = min(_ENOUGH, load.sessions * _IN_A_SESSION) if load.tool == "smtp-source" else 0
    return max(_FEWEST, load.sessions * _FEWEST_IN_A_SESSION, enough)
