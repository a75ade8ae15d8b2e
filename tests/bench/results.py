"""What was measured, as it is kept in `results.json`: the page is made of this and nothing else."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from tests.bench.load import Load

__all__ = ["Cell", "Measured", "Occasion", "Run", "Spread", "keep", "kept"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One contender's turn with one load. Times are in seconds, memory and what was written in octets.

    `emptied_seconds` is how long after the last reply its queue was empty, where it has one.
    """

    mails: int
    seconds: float
    cpu_seconds: float
    resident_bytes: int
    written_bytes: int
    generator_cpu_seconds: float
    emptied_seconds: float
    p50_seconds: float | None = None
    p99_seconds: float | None = None
    lag_p99_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """A median with the least and the greatest."""

    median: float
    least: float
    greatest: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """All turns of one contender with one load; with `failure` where it did not take the mails."""

    sheet: str
    contender: str
    load: Load
    runs: tuple[Run, ...]
    failure: str = ""

    def spread(self, of: Callable[[Run], float | None]) -> Spread | None:
        """Of those runs that have the figure; None where none has."""
        found = [figure for run in self.runs if (figure := of(run)) is not None]
        return Spread(median=statistics.median(found), least=min(found), greatest=max(found)) if found else None

    @property
    def rate(self) -> Spread | None:
        """Mails a second."""
        return self.spread(lambda run: run.mails / run.seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Occasion:
    """When something was measured, at which commit, in how many rounds and turns of how many seconds."""

    date: str
    commit: str
    rounds: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One whole run of the benchmark, and what was measured anew or besides.

    The run's own occasion is in its fields, with all commits; `occasions` has that of each sheet and group of figures.
    `missing` says, by contender or group of figures, why it could not be had on this machine; `failed`, why figures
    that could be had were not. `single` has what is no cell: figures by name.
    """

    date: str
    command: str
    rounds: int
    seconds: float
    commit: str
    machine: dict[str, str]
    versions: dict[str, str]
    titles: dict[str, str]
    cells: tuple[Cell, ...] = ()
    missing: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    single: dict[str, float] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    occasions: dict[str, Occasion] = field(default_factory=dict)

    def apart(self, name: str) -> Occasion | None:
        """The occasion of a sheet or a group of figures, where it is not the run's own."""
        own = Occasion(date=self.date, commit=self.commit, rounds=self.rounds, seconds=self.seconds)
        occasion = self.occasions.get(name)
        return None if occasion == own else occasion

    def cell(self, sheet: str, contender: str, load: Load) -> Cell | None:
        """The cell, if it was measured and has runs."""
        for cell in self.cells:
            if (cell.sheet, cell.contender, cell.load) == (sheet, contender, load) and cell.runs:
                return cell
        return None

    def rate(self, sheet: str, contender: str, load: Load) -> float | None:
        """The median, in mails a second."""
        cell = self.cell(sheet, contender, load)
        return cell.rate.median if cell is not None and cell.rate is not None else None


def keep(measured: Measured, path: Path) -> None:
    """Write it down."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(measured), indent=1) + b"\n")


def kept(path: Path) -> Measured:
    """Read it again. Raises OSError and msgspec.ValidationError."""
    return msgspec.json.decode(path.read_bytes(), type=Measured)
