"""Kill -9 at random moments under load: what was acknowledged is delivered, and nothing else is.

300 kills in all; `make torture` is the long form. A failure names its seed, which TORTURE_SEED sets again.
"""

import os
import secrets
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.torture.kill import Servers, run

# Gateways at one time: most of a cycle is the start of one.
LANES = 2


@pytest.mark.parametrize(
    ("name", "kills"),
    [
        ("directory delivered", 80),
        ("directory spooled", 100),
        ("http spooled", 80),
        ("two workers spooled", 10),
        ("one of two workers spooled", 10),
    ],
)
def test_what_was_acknowledged_survives_kills(tmp_path: Path, name: str, kills: int):
    survive(name, tmp_path, kills)


def test_what_was_acknowledged_reaches_a_bucket(tmp_path: Path, s3_server):
    survive("s3 spooled", tmp_path, 10, Servers(s3=s3_server))


def test_what_was_acknowledged_reaches_a_topic(tmp_path: Path, kafka):
    survive("kafka spooled", tmp_path, 10, Servers(kafka=kafka))


def survive(name: str, root: Path, kills: int, servers: Servers | None = None) -> None:
    seed = os.environ.get("TORTURE_SEED") or secrets.token_hex(4)

    def lane(number: int):
        folder = root / f"lane-{number}"
        folder.mkdir()
        return run(name, folder, seed=f"{seed}-{number}", cycles=kills // LANES, servers=servers)

    print(f"TORTURE_SEED={seed}")
    with ThreadPoolExecutor(LANES) as lanes:
        verdicts = list(lanes.map(lane, range(LANES)))
    for verdict in verdicts:
        assert verdict.is_clean, f"TORTURE_SEED={seed}\n{verdict}"
        assert verdict.acked > kills, "there was hardly any load"
