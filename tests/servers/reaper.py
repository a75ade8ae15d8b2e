"""The process that ends servers whose test run was killed before it could.

A test run that ends in order stops its servers itself. One that gets SIGKILL (out of memory, a cancelled job) cannot,
and a paused broker would stay for ever. So the run holds one end of a pipe and names on it each process group that it
starts (`+ID`) and ends (`-ID`); this process, at the other end, kills what is left when the pipe closes. It is run as
a script and imports nothing of the project.
"""

import atexit
import os
import signal
import subprocess
import sys
from typing import ClassVar, Self, TextIO


class Reaper:
    """The test run's end of the pipe."""

    _started: ClassVar[dict[int, Self]] = {}

    def __init__(self) -> None:
        process = subprocess.Popen(
            [sys.executable, "-I", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            bufsize=1,
            start_new_session=True,  # a Ctrl-C at the terminal is for the test run, which then ends its servers
        )
        assert process.stdin is not None
        self._process = process
        self._pipe = process.stdin
        atexit.register(self._end)

    @classmethod
    def of_this_process(cls) -> Self:
        """Return this process's reaper, started at the first call; a forked child gets one of its own."""
        return cls._started.get(os.getpid()) or cls._started.setdefault(os.getpid(), cls())

    def watch(self, group: int) -> None:
        """Have a process group killed when this process is gone."""
        self._pipe.write(f"+{group}\n")

    def forget(self, group: int) -> None:
        """Take back `watch()`: the group has ended, and its number may become another's."""
        self._pipe.write(f"-{group}\n")

    def _end(self) -> None:
        self._pipe.close()
        self._process.wait()


def reap(orders: TextIO) -> None:
    """Follow the orders until their end, then kill every group still watched."""
    watched: set[int] = set()
    for order in orders:
        group = int(order[1:])
        if order[0] == "+":
            watched.add(group)
        else:
            watched.discard(group)
    for group in watched:
        try:
            os.killpg(group, signal.SIGKILL)
        except ProcessLookupError:
            continue


if __name__ == "__main__":
    reap(sys.stdin)
