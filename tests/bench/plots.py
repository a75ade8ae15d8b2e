"""The plots of the page, as PNG and SVG; bars and lines are medians, whiskers the least and the greatest."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from tests.bench.load import Load
from tests.bench.results import Cell, Measured

__all__ = ["draw"]

_KINDS = ("png", "svg")
# The same figures give the same file.
_SETTINGS = {"svg.hashsalt": "mailsluice", "figure.figsize": (9.0, 4.5), "axes.grid": True, "grid.alpha": 0.3}


def draw(measured: Measured, folder: Path) -> set[str]:
    """Draw what was measured, each plot as `<sheet>.png` and `<sheet>.svg`: the sheets that have one."""
    for name in _PLOTS:
        for kind in _KINDS:
            # An older plot is not of this run.
            (folder / f"{name}.{kind}").unlink(missing_ok=True)
    drawn = set()
    folder.mkdir(parents=True, exist_ok=True)
    for name, title in measured.titles.items():
        cells = [cell for cell in measured.cells if cell.sheet == name and cell.rate is not None]
        if name not in _PLOTS or not cells:
            continue
        with mpl.rc_context(_SETTINGS):
            figure, axes = plt.subplots(layout="constrained")
            axes.set_title(title)
            _PLOTS[name](axes, cells)
            for kind in _KINDS:
                figure.savefig(folder / f"{name}.{kind}", dpi=120, metadata={"Date": None} if kind == "svg" else None)
            plt.close(figure)
        drawn.add(name)
    return drawn


def _bars(axes: Axes, cells: Sequence[Cell]) -> None:
    """Mails a second, a group of bars for each load."""
    contenders = list(dict.fromkeys(cell.contender for cell in cells))
    loads = list(dict.fromkeys(cell.load for cell in cells))
    width = 0.8 / len(contenders)
    for position, contender in enumerate(contenders):
        own = [cell for cell in cells if cell.contender == contender]
        places = [loads.index(cell.load) + (position - (len(contenders) - 1) / 2) * width for cell in own]
        axes.bar(places, _medians(own), width, yerr=_whiskers(own), label=contender, error_kw={"elinewidth": 0.8})
    axes.set_xticks(range(len(loads)), [str(load) for load in loads], fontsize="small")
    axes.set_yscale("log")
    axes.set_ylabel("mails a second")
    axes.legend(fontsize="small", ncols=2)


def _ranked(axes: Axes, cells: Sequence[Cell]) -> None:
    """Mails a second, with the first load of the sheet, one bar below the other."""
    own = [cell for cell in cells if cell.load == cells[0].load][::-1]
    axes.barh([cell.contender for cell in own], _medians(own), xerr=_whiskers(own), error_kw={"elinewidth": 0.8})
    axes.set_xlabel(f"mails a second: {own[0].load}")


def _lines(
    of: Callable[[Load], int], label: str, series: Callable[[Cell], str], *, octets: bool = False
) -> Callable[[Axes, Sequence[Cell]], None]:
    def plot(axes: Axes, cells: Sequence[Cell]) -> None:
        for name in dict.fromkeys(series(cell) for cell in cells):
            own = sorted((cell for cell in cells if series(cell) == name), key=lambda cell: of(cell.load))
            factors = [cell.load.size / 1e6 if octets else 1.0 for cell in own]
            axes.errorbar(
                [of(cell.load) for cell in own],
                [median * factor for median, factor in zip(_medians(own), factors, strict=True)],
                yerr=[
                    [length * factor for length, factor in zip(side, factors, strict=True)] for side in _whiskers(own)
                ],
                marker="o",
                capsize=3,
                label=name,
            )
        axes.set_xscale("log")
        axes.set_xlabel(label)
        axes.set_ylabel("MB a second" if octets else "mails a second")
        axes.set_ylim(bottom=0)
        axes.legend(fontsize="small")

    return plot


def _medians(cells: Sequence[Cell]) -> list[float]:
    return [rate.median for cell in cells if (rate := cell.rate) is not None]


def _whiskers(cells: Sequence[Cell]) -> list[list[float]]:
    rates = [rate for cell in cells if (rate := cell.rate) is not None]
    return [[rate.median - rate.least for rate in rates], [rate.greatest - rate.median for rate in rates]]


_PLOTS: Mapping[str, Callable[[Axes, Sequence[Cell]], None]] = {
    "peers": _bars,
    "connections": _ranked,
    "crowd": _ranked,
    "commands": _lines(
        lambda load: load.size,
        "octets of a mail",
        lambda cell: f"{cell.contender}, {cell.load.dialect} {cell.load.command}",
        octets=True,
    ),
    "destinations": _bars,
    "sessions": _lines(lambda load: load.sessions, "sessions", lambda cell: cell.contender),
    "recipients": _lines(
        lambda load: load.recipients, "recipients of a mail", lambda cell: f"{cell.contender}, {cell.load.dialect}"
    ),
    "workers": _bars,
}
