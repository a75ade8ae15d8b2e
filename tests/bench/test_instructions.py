"""The engine's hot path needs no more instructions than it did: 10 % more than what is stored is a step back.

What is stored is of some builds of the interpreter; a figure of another says nothing about the code.
"""

import pytest

from tests.bench.hot_path import take
from tests.bench.instructions import ACCEPTED_GROWTH, PATHS, count, stored


@pytest.mark.parametrize("command", PATHS)
def test_the_hot_path_takes_every_mail(command):
    assert take(command, 5) == 5


@pytest.mark.parametrize("command", PATHS)
def test_the_hot_path_did_not_grow(command):
    before = stored(command)
    if before is None:
        pytest.skip("nothing is stored for this build of the interpreter: `python -m tests.bench.instructions --store`")
    now = count(command)
    if now is None:
        pytest.skip("valgrind is not installed")
    assert now <= ACCEPTED_GROWTH * before, (
        f"{PATHS[command]} takes {now:,} instructions, and took {before:,}; if that is what you want, "
        "store it: `python -m tests.bench.instructions --store`"
    )
