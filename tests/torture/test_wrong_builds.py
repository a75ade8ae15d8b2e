"""The bench catches ten deliberately wrong builds, and passes the right one."""

import pytest

from tests.torture.wrong_builds import WRONG_BUILDS, check, copy_repository


@pytest.mark.parametrize("build", WRONG_BUILDS, ids=lambda build: build.name)
def test_a_wrong_build_is_caught(build, tmp_path):
    copy_repository(tmp_path)
    build.make(tmp_path)
    done = check(tmp_path, *build.checks)
    assert done.returncode == 1, f"{build.name} was not caught:\n{done.stdout}\n{done.stderr}"


def test_the_right_build_passes_in_its_copy(tmp_path):
    copy_repository(tmp_path)
    done = check(tmp_path, *{each for build in WRONG_BUILDS for each in build.checks})
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
