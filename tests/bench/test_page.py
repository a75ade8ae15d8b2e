"""What was measured comes back from its file, is judged against the goals, and is shown."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.bench import page, single
from tests.bench.goals import goals
from tests.bench.load import KB, generated, smtp_source
from tests.bench.plan import CONTENDERS, SHEETS, Sheet
from tests.bench.results import Cell, Measured, Occasion, Run, keep, kept
from tests.bench.runner import Turns
from tests.bench.sanity import faults
from tests.bench.single import FIGURES
from tests.servers.processes import StartFailed, Unavailable

_LOAD = smtp_source(KB, 20)
_WITH_CONTAINERS = generated(KB, 20, "BDAT", containers=2)
_ENGINE = "Engine alone to `smtp-sink`, 1 KB by DATA, many mails in a connection"


def cell(contender, *rates, failure="", sheet="peers", load=_LOAD, lag=None):
    runs = tuple(
        Run(
            mails=round(rate),
            seconds=1.0,
            cpu_seconds=0.5,
            resident_bytes=50_000_000,
            written_bytes=4096,
            generator_cpu_seconds=0.1,
            emptied_seconds=0.0,
            lag_p99_seconds=lag,
        )
        for rate in rates
    )
    return Cell(sheet=sheet, contender=contender, load=load, runs=runs, failure=failure)


def measured(*cells, **more):
    return Measured(
        date="2026-11-22",
        command="python -m tests.bench",
        rounds=3,
        seconds=1.5,
        commit="abc",
        machine={"Processor": "one"},
        versions={"engine": "mailsluice 1", "spool": "mailsluice 1", "smtp-sink": "Postfix 3"},
        titles={"peers": "Beside its peers"},
        cells=cells,
        **more,
    )


def pair(sheet, first, second, *rates):
    return tuple(
        cell("engine", rate, sheet=sheet, load=load) for load, rate in zip((first, second), rates, strict=True)
    )


def raising(reason):
    def start(*_):
        raise reason

    return start


def verdict(text, found):
    (goal,) = (each for each in goals(found) if each.text == text)
    return goal.verdict, goal.reached


def test_a_goal_is_reached_by_the_median(tmp_path):
    sink = cell("smtp-sink", 900, 1000, 1100)
    assert verdict(_ENGINE, measured(sink, cell("engine", 100, 600, 9000))) == ("reached", 0.6)
    assert verdict(_ENGINE, measured(sink, cell("engine", 9000, 599, 100))) == ("nearest", 0.599)
    assert verdict(_ENGINE, measured(sink)) == ("not measured", None)


def test_a_bound_from_above_is_no_bound_from_below():
    idle = {"idle sessions": 5000.0, "idle bytes before": 20 * 2**20}
    less = measured(single={**idle, "idle bytes with": 90 * 2**20})
    more = measured(single={**idle, "idle bytes with": 90 * 2**20 + 2**20})
    assert verdict("10,000 idle sessions", less) == ("reached", 160.0)
    assert verdict("10,000 idle sessions", more) == ("nearest", 162.0)


def test_the_event_loop_is_judged_by_the_worst_table_with_many_sessions():
    crowd = [cell(name, 1, sheet="crowd", load=smtp_source(KB, 200), lag=0.01) for name in ("engine", "spool", "Kafka")]
    found = measured(*crowd, cell("S3", 1, sheet="destinations", load=generated(KB, 200, "BDAT"), lag=0.15))
    worst, ordinary = (each for each in goals(found) if each.unit == "ms")
    assert (worst.verdict, worst.reached, worst.note) == ("nearest", 150.0, "S3, 1 KB, BDAT, 200 sessions")
    assert (ordinary.verdict, ordinary.reached) == ("reached", 10.0)
    few = cell("engine", 1, load=smtp_source(KB, 80), lag=0.9)
    assert verdict(worst.text, measured(*crowd, few)) == ("reached", 10.0)


def test_what_is_kept_comes_back(tmp_path):
    whole = measured(cell("engine", 1, 2), missing={"Haraka": "no npm"}, single={"idle sessions": 1.5})
    keep(whole, tmp_path / "deeper" / "results.json")
    assert kept(tmp_path / "deeper" / "results.json") == whole


def test_the_page_tells_figures_ratios_and_who_was_not_there(tmp_path):
    found = measured(
        cell("smtp-sink", 900, 1000, 1100),
        cell("engine", 500, 500, 600),
        cell("Exim", failure="451 no"),
        missing={"Haraka": "npm is not installed"},
        left_out=("What nobody asked for.",),
    )
    page.write(found, tmp_path / "performance.md", drawn={"peers"})
    text = (tmp_path / "performance.md").read_text()
    assert "| engine | 500 (500 to 600) | 0.5 | 0.50 | 1.00 ms |" in text
    assert "![Beside its peers](performance/peers.svg)" in text
    assert "- Haraka: npm is not installed" in text
    assert "- Exim, 1 KB, DATA, 20 sessions: 451 no" in text
    assert "- What nobody asked for." in text
    assert "| engine, spool | mailsluice 1 |" in text


def test_a_start_with_a_full_spool_is_judged_by_time_and_memory(tmp_path):
    start = {"restart 1000000 first 250 seconds": 2.5, "restart 1000000 spool bytes": 2e9}
    found = measured(single={**start, "restart 1000000 growth bytes": 129 * 2.0**20})
    assert verdict("Start with 1,000,000 mails in the spool: first 250 after", found) == ("reached", 2.5)
    assert verdict("Start with 1,000,000 mails in the spool: memory grows by", found) == ("nearest", 129.0)
    page.write(found, tmp_path / "page.md", drawn=())
    assert "first 250 | after 2.50 s, memory +129.0 MiB |" in (tmp_path / "page.md").read_text()


def test_what_is_of_another_run_says_so(tmp_path):
    """What is of the page's own does not, nor what was kept before anything did."""
    own = Occasion(date="2026-11-22", commit="abc", rounds=3, seconds=1.5)
    added = replace(own, commit="def", seconds=0.7)
    for occasions, told in (
        ({}, []),
        ({"peers": own, "idle": own}, []),
        ({"peers": added}, ["Measured on 2026-11-22, 3 rounds, turns of about 0.7 s, at commit `def`."]),
        ({"idle": added, "engine": added}, ["Measured on 2026-11-22, at commit `def`: engine, idle."]),
    ):
        page.write(measured(cell("engine", 1), occasions=occasions), tmp_path / "page.md", drawn=())
        _, *found = (line for line in (tmp_path / "page.md").read_text().splitlines() if line.startswith("Measured on"))
        assert found == told


@pytest.mark.parametrize(
    ("cells", "what"),
    [
        ((cell("smtp-sink", 10), cell("engine", 10_000)), "not to be believed"),
        ((cell("smtp-sink", 1_000_000), cell("engine", 10)), "not to be believed"),
        ((cell("engine", failure="451 no"),), "451 no"),
        (pair("commands", generated(KB, 20, "DATA"), generated(KB, 20, "BDAT"), 1000, 100), "times 1 KB, DATA"),
        (pair("commands", generated(KB, 20, "DATA"), generated(KB, 20, "BDAT"), 100, 1000), "times 1 KB, DATA"),
        (pair("metadata", generated(KB, 20, "BDAT"), _WITH_CONTAINERS, 1000, 100), "times 1 KB, BDAT, 20"),
        ((), "nothing was measured"),
    ],
)
def test_a_run_that_cannot_be_true_is_a_fault(cells, what):
    (fault,) = faults(measured(*cells))
    assert what in fault


def test_a_goal_that_is_missed_has_its_reason_on_the_page(tmp_path):
    sink = cell("smtp-sink", 1000)
    for rate, is_missed in ((100, True), (900, False)):
        page.write(measured(sink, cell("engine", rate)), tmp_path / "page.md", drawn=())
        assert (f"- {_ENGINE}: " in (tmp_path / "page.md").read_text()) is is_missed


def test_speed_is_no_fault():
    assert not faults(measured(cell("smtp-sink", 1000), cell("engine", 1)))
    assert not faults(measured(*pair("metadata", generated(KB, 20, "BDAT"), _WITH_CONTAINERS, 1000, 300)))


def test_a_figure_that_failed_is_a_fault_and_one_that_cannot_be_had_is_not(monkeypatch, tmp_path):
    """Both are said in the page."""
    missing, failed = {}, {}
    for name, reason in (("idle", StartFailed("ended with status 1\nits log")), ("store", Unavailable("no versitygw"))):
        monkeypatch.setitem(FIGURES, name, raising(reason))
        assert not single.measure(name, missing, failed, str)
    found = measured(cell("engine", 1), missing=missing, failed=failed)
    assert faults(found) == ["idle: ended with status 1"]
    page.write(found, tmp_path / "page.md", drawn=())
    assert "- idle: ended with status 1" in (tmp_path / "page.md").read_text()
    assert "- store: no versitygw" in (tmp_path / "page.md").read_text()


def test_a_contender_that_does_not_start_is_a_fault_and_one_that_cannot_be_had_is_not(monkeypatch):
    """An installed peer is no better than ours: without it there are no ratios."""
    monkeypatch.setitem(CONTENDERS, "engine", raising(StartFailed("Mailsluice ended with status 1\nits log")))
    monkeypatch.setitem(CONTENDERS, "Postfix", raising(Unavailable("Postfix is not installed")))
    sheet = Sheet(name="peers", title="", contenders=("Postfix", "engine"), loads=(_LOAD,), without={})
    turns = Turns(rounds=1, seconds=1, say=str)
    found = measured(*turns.measure(sheet), missing=turns.missing)
    assert faults(found) == ["engine, 1 KB, DATA, 20 sessions: Mailsluice ended with status 1"]
    assert found.missing == {"Postfix": "Postfix is not installed"}


def test_every_sheet_names_contenders_that_there_are():
    for sheet in SHEETS:
        assert set(sheet.contenders) <= set(CONTENDERS)
        assert len(set(sheet.cells())) == len(sheet.cells())


def test_a_limit_with_a_load_of_its_own_has_ratios_too(tmp_path):
    """`smtp-sink` does not know BDAT; the others are shown together all the same."""
    data, bdat = (generated(KB, 200, command) for command in ("DATA", "BDAT"))
    (sheet,) = (each for each in SHEETS if each.limit)
    assert [load for name, load in sheet.cells() if name == "smtp-sink"] == [data]
    found = measured(cell("smtp-sink", 1000, load=data), cell("HTTP", 500, load=bdat))
    page.write(found, tmp_path / "page.md", drawn=())
    assert "| load | contender | mails/s | MB/s | to smtp-sink |" in (tmp_path / "page.md").read_text()
    assert "| 1 KB, BDAT, 200 sessions | HTTP | 500 (500 to 500) | 0.5 | 0.50 |" in (tmp_path / "page.md").read_text()


def test_the_parts_of_a_mails_time_are_shown_with_their_sum(tmp_path):
    single = {"share engine: log lines": 0.000_020, "share engine: envelope": 0.000_030, "share spool: spool": 0.000_1}
    page.write(measured(single=single), tmp_path / "page.md", drawn=())
    text = (tmp_path / "page.md").read_text()
    assert "| part | engine | spool |" in text
    assert "| log lines | 20 µs | - |" in text
    assert "| together | 50 µs | 100 µs |" in text


def test_the_page_in_the_docs_is_what_its_results_give(tmp_path):
    docs = Path(__file__).parents[2] / "docs"
    drawn = {path.stem for path in (docs / "performance").glob("*.svg")}
    page.write(kept(docs / "performance" / "results.json"), tmp_path / "page.md", drawn=drawn)
    assert (tmp_path / "page.md").read_text() == (docs / "performance.md").read_text()
