"""Whether a run is one: figures that cannot be true are told, how fast somebody is never."""

from tests.bench.results import Measured

__all__ = ["faults"]

# The sink is the limit, but for chance on a busy machine; and nobody is ten thousand times slower.
_SANE = (0.0001, 20.0)


def faults(measured: Measured) -> list[str]:
    """In sentences."""
    found = [f"{cell.contender}, {cell.load}: {cell.failure}" for cell in measured.cells if cell.failure]
    for cell in measured.cells:
        if cell.failure or (rate := cell.rate) is None:
            continue
        sink = measured.rate(cell.sheet, "smtp-sink", cell.load)
        if sink and not _SANE[0] < rate.median / sink < _SANE[1]:
            found.append(
                f"{cell.contender}, {cell.load}: {rate.median / sink:.3f} times smtp-sink is not to be believed"
            )
        if any(run.cpu_seconds < 0 or run.written_bytes < 0 for run in cell.runs):
            found.append(f"{cell.contender}, {cell.load}: its processes used less than nothing")
    if not measured.cells and not measured.single:
        found.append("nothing was measured")
    return found
