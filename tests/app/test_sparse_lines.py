"""The lines of a process without threads: whole, in order, and waited for by nobody."""

import fcntl
import os

import pytest

from gateway.app.sparse_lines import SparseLines

LINE = "x" * 1000


@pytest.fixture
def turns():
    descriptor = os.memfd_create("turns")
    yield descriptor
    os.close(descriptor)


@pytest.fixture
def pipe():
    """A pipe of one page that nobody reads: its reading end, and a stream of its writing end."""
    reading, writing = os.pipe()
    fcntl.fcntl(reading, fcntl.F_SETPIPE_SZ, 4096)
    with os.fdopen(writing, "w") as stream:
        yield reading, stream
    os.close(reading)


def test_what_a_full_pipe_does_not_take_is_written_when_there_is_room(pipe, turns):
    reading, stream = pipe
    lines = SparseLines(stream, turns=turns)
    for number in range(10):
        lines.write(f"{number}{LINE}\n")
    assert not lines.flush()
    found = os.read(reading, 4096)
    while not lines.flush():
        found += os.read(reading, 4096)
    found += os.read(reading, 4096)
    assert found.decode().splitlines() == [f"{number}{LINE}" for number in range(10)]


def test_nobody_waits_for_the_turn_of_another_process(tmp_path, turns):
    with (tmp_path / "log").open("w+") as stream:
        lines = SparseLines(stream, turns=turns)
        told, tell = os.pipe()
        release, releasing = os.pipe()
        child = os.fork()
        if child == 0:
            fcntl.lockf(turns, fcntl.LOCK_EX)
            os.write(tell, b".")
            os.read(release, 1)
            os._exit(0)
        os.read(told, 1)
        lines.write("a line\n")
        assert not lines.flush()
        os.write(releasing, b".")
        os.waitpid(child, 0)
        assert lines.flush()
        stream.seek(0)
        assert stream.read() == "a line\n"
        for descriptor in (told, tell, release, releasing):
            os.close(descriptor)


def test_a_line_that_is_too_long_is_cut_and_stays_one_line(tmp_path, turns):
    with (tmp_path / "log").open("w+") as stream:
        SparseLines(stream, turns=turns).write(10 * LINE + "\nnext\n")
        stream.seek(0)
        first, second = stream.read().splitlines()
    assert len(first) == 4095
    assert second == "next"


def test_without_a_stream_everything_is_lost_and_nothing_is_raised(turns):
    lines = SparseLines(None, turns=turns)
    assert lines.write("a line\n") == 7
    assert lines.flush()
    lines.close()
