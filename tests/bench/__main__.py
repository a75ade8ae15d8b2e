"""The benchmark: `make bench`, or `python -m tests.bench [--quick] [--only NAMES] [--rounds N]`.

Everything is measured on one machine in one run, in turns; see `runner`, `plan` and `contenders`. What comes out is
kept as `performance/results.json` in the output directory, and shown in `performance.md` beside it, with plots.
`--render` makes the page again from what is kept. The exit status is 1 where a contender that can be had here did not
start or failed, where a figure could not be measured, or is not to be believed.
"""

import argparse
import sys
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

from tests.bench import machine, page, plots
from tests.bench.plan import LEFT_OUT, QUICK, SHEETS
from tests.bench.results import Measured, Occasion, keep, kept
from tests.bench.runner import Turns
from tests.bench.sanity import faults
from tests.bench.single import FIGURES, measure
from tests.servers.cache import CACHE

_DOCS = Path(__file__).parents[2] / "docs"
_SECONDS = 1.5
_QUICK_SECONDS = 0.3


def main(arguments: list[str] | None = None) -> int:
    """Measure and write the page: the exit status."""
    options = _options(arguments)
    results = _results(options.output)
    if not options.render:
        _measure(options, results)
    measured = kept(results)
    drawn = plots.draw(measured, options.output / "performance")
    page.write(measured, options.output / "performance.md", drawn=drawn)
    found = faults(measured)
    for fault in found:
        print(fault, file=sys.stderr)
    return 1 if found else 0


def _results(output: Path) -> Path:
    return output / "performance" / "results.json"


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__.split("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="few cells, one short round: does it run?")
    parser.add_argument("--only", default="", help="sheets and figures by name, with commas in between")
    parser.add_argument("--rounds", type=int, help="how often each cell is measured; 5 by default")
    parser.add_argument("--seconds", type=float, help=f"how long a turn lasts, about; {_SECONDS:g} by default")
    parser.add_argument("--output", type=Path, help="where the page goes: docs, or .cache/bench if it is not all")
    parser.add_argument("--add", action="store_true", help="keep what is kept, and measure --only anew or besides")
    parser.add_argument("--render", action="store_true", help="measure nothing, make the page from what is kept")
    options = parser.parse_args(arguments)
    options.rounds = options.rounds or (1 if options.quick else 5)
    options.seconds = options.seconds or (_QUICK_SECONDS if options.quick else _SECONDS)
    names = {sheet.name for sheet in SHEETS} | set(FIGURES)
    # A part of the figures does not take the place of all.
    options.output = options.output or (CACHE / "bench" if options.quick or options.only else _DOCS)
    options.only = set(filter(None, options.only.split(",")))
    if options.add and not options.only:
        parser.error("--add takes what --only names")
    if options.add and not _results(options.output).exists():
        parser.error(f"there is nothing to add to in {options.output}; measure without --add first")
    if unknown := options.only - names:
        parser.error(f"there is no {' or '.join(sorted(unknown))}; there are {', '.join(sorted(names))}")
    return options


def _measure(options: argparse.Namespace, results: Path) -> None:
    """Kept after every step: what comes later may fail."""
    machine.allow_descriptors()
    sheets = [each for each in (QUICK if options.quick else SHEETS) if not options.only or each.name in options.only]
    figures = [name for name in (() if options.quick else FIGURES) if not options.only or name in options.only]
    failed: dict[str, str] = {}
    turns = Turns(rounds=options.rounds, seconds=options.seconds, say=_say)
    command = f"python -m tests.bench {' '.join(sys.argv[1:])}".strip()
    occasion = Occasion(date=machine.today(), commit=machine.commit(), rounds=options.rounds, seconds=options.seconds)
    measured = Measured(
        date=occasion.date,
        command=command,
        rounds=occasion.rounds,
        seconds=occasion.seconds,
        commit=occasion.commit,
        machine=machine.describe(),
        versions=turns.versions,
        titles={sheet.name: sheet.title for sheet in sheets},
        missing=turns.missing,
        failed=failed,
        left_out=LEFT_OUT,
    )
    if options.add:
        before = kept(results)
        turns.versions.update(before.versions)
        turns.missing.update(_others(before.missing, options.only))
        failed.update(_others(before.failed, options.only))
        measured = replace(
            before,
            command=_with(before.command, command),
            commit=_with(before.commit, measured.commit),
            versions=turns.versions,
            missing=turns.missing,
            failed=failed,
            left_out=LEFT_OUT,
            titles={**before.titles, **measured.titles},
            cells=tuple(cell for cell in before.cells if cell.sheet not in options.only),
        )
    keep(measured, results)
    for sheet in sheets:
        cells = (*measured.cells, *turns.measure(sheet))
        measured = replace(measured, cells=cells, occasions={**measured.occasions, sheet.name: occasion})
        keep(measured, results)
    for name in figures:
        if found := measure(name, turns.missing, failed, _say):
            occasions = {**measured.occasions, name: occasion}
            measured = replace(measured, single={**measured.single, **found}, occasions=occasions)
        keep(measured, results)


def _others(reasons: Mapping[str, str], names: Collection[str]) -> dict[str, str]:
    return {name: reason for name, reason in reasons.items() if name not in names}


def _with(those: str, another: str) -> str:
    # The page has them between backticks.
    return "` and `".join(dict.fromkeys((*those.split("` and `"), another)))


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
