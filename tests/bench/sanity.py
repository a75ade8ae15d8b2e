"""Whether a run is one: figures that cannot be true are told, how fast somebody is never."""

from dataclasses import replace

from tests.bench.load import Load
from tests.bench.results import Measured

__all__ = ["faults"]

# The sink is the limit, but for chance on a busy machine; and nobody is ten thousand times slower.
_SANE = (0.0001, 20.0)
# One contender with two loads that differ in one thing.
_ALIKE = (0.2, 5.0)


def faults(measured: Measured) -> list[str]:
    """In sentences."""
    found = [f"{cell.contender}, {cell.load}: {cell.failure}" for cell in measured.cells if cell.failure]
    found += [f"{name}: {reason}" for name, reason in measured.failed.items()]
    for cell in measured.cells:
        if cell.failure or (rate := cell.rate) is None:
            continue
        sink = measured.rate(cell.sheet, "smtp-sink", cell.load)
        if sink and not _SANE[0] < rate.median / sink < _SANE[1]:
            found.append(
                f"{cell.contender}, {cell.load}: {rate.median / sink:.3f} times smtp-sink is not to be believed"
            )
        plain = _plain(cell.sheet, cell.load)
        without = measured.rate(cell.sheet, cell.contender, plain)
        if without and not _ALIKE[0] < rate.median / without < _ALIKE[1]:
            found.append(
                f"{cell.contender}, {cell.load}: {rate.median / without:.3f} times {plain} is not to be believed"
            )
        if any(run.cpu_seconds < 0 or run.written_bytes < 0 for run in cell.runs):
            found.append(f"{cell.contender}, {cell.load}: its processes used less than nothing")
    if not measured.cells and not measured.single:
        found.append("nothing was measured")
    return found


def _plain(sheet: str, load: Load) -> Load:
    """What a load of the sheet is compared with: itself, where there is nothing."""
    match sheet:
        case "commands":
            return replace(load, command="DATA")
        case "metadata":
            return replace(load, containers=0)
        case _:
            return load
