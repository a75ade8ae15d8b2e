"""Several kinds of fault in a row, with clients that come back; the long form is `python -m tests.torture.nemesis`."""

import os
import secrets
from pathlib import Path

from tests.torture.nemesis import torment

SECONDS = 15.0


def test_nothing_is_lost_whatever_happens_in_a_row(tmp_path: Path):
    seed = os.environ.get("TORTURE_SEED") or secrets.token_hex(4)
    verdict = torment(tmp_path, seed=seed, seconds=SECONDS)
    assert verdict.is_clean, f"TORTURE_SEED={seed}\n{verdict}"
    assert verdict.acked > 100, f"there was hardly any load: {verdict}"
