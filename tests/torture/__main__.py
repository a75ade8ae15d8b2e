"""The long form of the torture bench: `python -m tests.torture --cycles 10000`, or `make torture`.

The cycles are shared among the trials, and among lanes that run side by side. A round is some cycles of one trial, its
drain and its verdict; then its files go, so that the disk space does not grow. The files of a round that failed stay,
and its seed is printed: `--seed SEED --trial NAME --round N` tries it again. The exit status is 1 where one failed.
"""

import argparse
import itertools
import math
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from tests.servers.kafka import KafkaCluster
from tests.servers.s3 import S3Server
from tests.torture.kill import TRIALS, Servers, run
from tests.torture.oracle import Verdict
from tests.torture.workload import LONG_SIZES


class Round(NamedTuple):
    """Some cycles of one trial."""

    trial: str
    number: int
    cycles: int


class Result(NamedTuple):
    """What came out of a round; `failure` is empty for one that is clean."""

    round: Round
    verdict: Verdict
    failure: str


_ROUND_CYCLES = 50
_TOTALS = ("attempted", "acked", "rejected", "unknown", "delivered", "duplicates")


def main() -> int:
    """Run what the command line says: the exit status."""
    options = _options()
    rounds = list(_rounds(options.trial or list(TRIALS), options.cycles, options.round))
    wanted = {sink for each in rounds for sink in TRIALS[each.trial].sinks}
    print(f"seed {options.seed}: {sum(each.cycles for each in rounds)} kills in {len(rounds)} rounds", flush=True)
    with ExitStack() as running:
        servers = Servers(
            s3=running.enter_context(S3Server()) if "objects" in wanted else None,
            kafka=running.enter_context(KafkaCluster()) if "events" in wanted else None,
        )
        return _run(rounds, options.seed, options.lanes, servers)


def _run(rounds: list[Round], seed: str, lanes: int, servers: Servers) -> int:
    begun = time.monotonic()
    totals = dict.fromkeys(_TOTALS, 0)
    done = failed = 0
    with ThreadPoolExecutor(lanes) as threads:
        for future in as_completed([threads.submit(_round, each, seed, servers) for each in rounds]):
            result = future.result()
            done += result.round.cycles
            failed += bool(result.failure)
            for name in _TOTALS:
                totals[name] += getattr(result.verdict, name)
            said = result.failure or str(result.verdict)
            print(f"{done} kills, {time.monotonic() - begun:.0f} s: {result.round.trial}: {said}", flush=True)
    print(f"{done} kills, {failed} rounds failed: " + ", ".join(f"{totals[name]} {name}" for name in _TOTALS))
    return 1 if failed else 0


def _round(round_: Round, seed: str, servers: Servers) -> Result:
    folder = Path(tempfile.mkdtemp(prefix="mailsluice-torture-"))
    again = f"--seed {seed} --trial '{round_.trial}' --round {round_.number} --cycles {round_.cycles}; files: {folder}"
    try:
        verdict = run(
            round_.trial,
            folder,
            seed=f"{seed}-{round_.number}",
            cycles=round_.cycles,
            servers=servers,
            sizes=LONG_SIZES,
        )
    except Exception as error:  # noqa: BLE001  # whatever it is, the other rounds go on
        return Result(round_, Verdict(), f"FAILED ({again})\n{type(error).__name__}: {error}")
    if not verdict.is_clean:
        return Result(round_, verdict, f"FAILED ({again})\n{verdict}")
    shutil.rmtree(folder)
    return Result(round_, verdict, "")


def _rounds(trials: list[str], cycles: int, only: int | None) -> Iterator[Round]:
    """The trials in turn, until there are enough cycles."""
    share = min(_ROUND_CYCLES, math.ceil(cycles / len(trials)))
    for number, trial in enumerate(itertools.cycle(trials)):
        if cycles <= 0:
            return
        size = min(cycles, share)
        yield Round(trial, number if only is None else only, size)
        cycles -= size


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description="Kill the gateway, again and again.")
    parser.add_argument("--cycles", type=int, default=10_000, help="how many kills in all (10,000)")
    parser.add_argument("--trial", choices=list(TRIALS), action="append", help="only this one; may be given again")
    parser.add_argument("--seed", default=secrets.token_hex(4), help="what to repeat; one at random")
    parser.add_argument("--round", type=int, help="the round to repeat, with its seed and trial")
    parser.add_argument("--lanes", type=int, default=2, help="how many gateways at one time (2)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
