"""The tables of the page: one for each load of a sheet where contenders are compared, otherwise one for the sheet."""

from collections.abc import Callable, Iterable, Sequence

from tests.bench.load import MB
from tests.bench.results import Cell, Measured, Run, Spread

__all__ = ["sheet", "table", "time"]

_SINK = "smtp-sink"
_PEERS = (_SINK, "Haraka", "Postfix", "Exim", "aiosmtpd + aiokafka")
_NONE = "-"
# Asking a queue how full it is takes a moment, too.
_SEEN_SECONDS = 0.1


def time(seconds: float) -> str:
    """With the unit that suits it."""
    if seconds >= 1:
        return f"{seconds:.2f} s"
    return f"{seconds * 1000:.2f} ms" if seconds >= 0.001 else f"{seconds * 1e6:.0f} µs"


# Heading, figure of a run, format of the median. A column that no cell has is left out.
_COLUMNS: tuple[tuple[str, Callable[[Run], float | None], Callable[[float], str]], ...] = (
    ("CPU", lambda run: run.cpu_seconds / run.mails, time),
    ("memory", lambda run: run.resident_bytes, lambda octets: f"{octets / MB:,.0f} MiB"),
    ("written", lambda run: run.written_bytes / run.mails, lambda octets: f"{octets / 1024:,.1f} KiB"),
    ("p50", lambda run: run.p50_seconds, time),
    ("p99", lambda run: run.p99_seconds, time),
    ("emptied after", lambda run: run.emptied_seconds if run.emptied_seconds >= _SEEN_SECONDS else None, time),
    ("lag p99", lambda run: run.lag_p99_seconds, time),
    ("generator", lambda run: run.generator_cpu_seconds / run.mails, time),
)


def table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """In Markdown; the first column to the left, the others to the right where they are figures."""
    lines = [heading, ["---", *("--:" if name else "---" for name in heading[1:])], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def sheet(measured: Measured, name: str) -> list[str]:
    """The tables of one sheet."""
    cells = [cell for cell in measured.cells if cell.sheet == name and cell.runs]
    sinks = [cell for cell in cells if cell.contender == _SINK]
    others = {cell.load for cell in cells if cell.contender != _SINK}
    if not others & {cell.load for cell in sinks}:
        return [_together(cells, next(iter(sinks), None))] if cells else []
    found = []
    for load in dict.fromkeys(cell.load for cell in cells):
        alike = [cell for cell in cells if cell.load == load]
        found += [f"**{load.manner}**", _compared(alike)]
    return found


def _together(cells: Sequence[Cell], limit: Cell | None) -> str:
    """With ratios to a limit, if there is one, that was measured with a load of its own."""
    headings, figures = _figures(cells)
    to = limit and limit.rate
    rows = []
    for cell, row in zip(cells, figures, strict=True):
        ratio = [f"{cell.rate.median / to.median:.2f}"] if to and cell.rate else []
        rows.append((str(cell.load), cell.contender, *_rates(cell), *ratio, *row))
    return table(("load", "contender", "mails/s", "MB/s", *([f"to {_SINK}"] if to else []), *headings), rows)


def _compared(cells: Sequence[Cell]) -> str:
    rates = {cell.contender: cell.rate.median for cell in cells if cell.rate is not None}
    peers = [name for name in _PEERS if name in rates]
    headings, figures = _figures(cells)
    rows = []
    for cell, row in zip(cells, figures, strict=True):
        ratios = [f"{rates[cell.contender] / rates[peer]:.2f}" if peer != cell.contender else "1" for peer in peers]
        rows.append((cell.contender, *_rates(cell), *ratios, *row))
    return table(("contender", "mails/s", "MB/s", *(f"to {peer}" for peer in peers), *headings), rows)


def _figures(cells: Sequence[Cell]) -> tuple[list[str], list[list[str]]]:
    columns = [column for column in _COLUMNS if any(cell.spread(column[1]) for cell in cells)]
    rows = []
    for cell in cells:
        spreads = ((cell.spread(figure), text) for _, figure, text in columns)
        rows.append([_NONE if spread is None else text(spread.median) for spread, text in spreads])
    return [heading for heading, _, _ in columns], rows


def _rates(cell: Cell) -> tuple[str, str]:
    rate = cell.rate
    if rate is None:
        return _NONE, _NONE
    return _range(rate), f"{rate.median * cell.load.size / 1e6:,.1f}"


def _range(rate: Spread) -> str:
    return f"{_number(rate.median)} ({_number(rate.least)} to {_number(rate.greatest)})"


def _number(figure: float) -> str:
    return f"{figure:,.0f}" if figure >= 100 else f"{figure:.1f}"
