"""What processes have used is counted whole, that of children that are gone too."""

import subprocess
import sys
from contextlib import contextmanager

from tests.bench.accounting import Meter

_SPENT = "import time\nwhile time.process_time() < 0.3: pass"
_PARENT = f"""
import subprocess, sys
for _ in sys.stdin:
    subprocess.run([sys.executable, "-c", {_SPENT!r}], check=True)
    print(flush=True)
"""
_GROWING = """
import os, sys
for _ in sys.stdin:
    with open(sys.argv[1], "wb") as file:
        file.write(b"x" * 30_000_000)
        os.fsync(file.fileno())
    print(flush=True)
"""


@contextmanager
def process(program, *arguments):
    words = [sys.executable, "-c", program, *map(str, arguments)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as started:
        yield started
        started.stdin.close()


def act(started):
    started.stdin.write("\n")
    started.stdin.flush()
    assert started.stdout.readline() == "\n"


def test_children_that_have_ended_count():
    with process(_PARENT) as started:
        meter = Meter([started.pid])
        act(started)
        assert 0.25 < meter.read().cpu_seconds < 5


def test_what_was_used_before_does_not_count():
    with process(_PARENT) as started:
        act(started)
        assert Meter([started.pid]).read().cpu_seconds < 0.1


def test_memory_at_its_peak_and_what_was_written_are_seen(tmp_path):
    with process(_GROWING, tmp_path / "file") as started:
        meter = Meter([started.pid])
        act(started)
        usage = meter.read()
    assert usage.resident_bytes > 30_000_000
    assert 30_000_000 <= usage.written_bytes < 60_000_000
