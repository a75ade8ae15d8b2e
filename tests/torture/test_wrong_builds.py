"""The bench catches ten deliberately wrong builds, and passes the right one."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tests.torture.wrong_builds import WRONG_BUILDS, WrongBuild, check, copy_repository

_AT_ONCE = 2
# The tests themselves pass elsewhere: these few show that they can in a copy.
_SOME_CHECKS = (WRONG_BUILDS[6].checks[0], WRONG_BUILDS[7].checks[0], WRONG_BUILDS[8].checks[0])


@pytest.fixture(scope="module")
def checked(tmp_path_factory) -> Iterator[dict[str, Future[CompletedProcess[str]]]]:
    """What the checks say to every wrong build, by its name; some run at once, as each mostly waits for its gateway."""
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        yield {build.name: threads.submit(_check, build, tmp_path_factory.mktemp("build")) for build in WRONG_BUILDS}


def _check(build: WrongBuild, copy: Path) -> CompletedProcess[str]:
    copy_repository(copy)
    build.make(copy)
    return check(copy, *build.checks)


@pytest.mark.parametrize("build", WRONG_BUILDS, ids=lambda build: build.name)
def test_a_wrong_build_is_caught(build, checked):
    done = checked[build.name].result()
    assert done.returncode == 1, f"{build.name} was not caught:\n{done.stdout}\n{done.stderr}"


def test_the_right_build_passes_in_its_copy(tmp_path):
    copy_repository(tmp_path)
    done = check(tmp_path, *_SOME_CHECKS)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
