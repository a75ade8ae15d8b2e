"""The process that ends servers, and removes their files, where a test run was killed before it could.

A test run that ends in order does so itself. One that gets SIGTERM or SIGKILL (a cancelled job, out of memory) cannot,
and a paused broker would stay for ever. So the run holds one end of a pipe and names on it each process group that it
starts (`+ID`) and ends (`-ID`), and each directory that it makes (`/PATH`); this process, at the other end, kills and
removes what is left when the pipe closes. It is run as a script and imports nothing of the project.
"""

import atexit
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
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

    def remove(self, directory: Path) -> None:
        """Have a directory removed when this process is gone, if it is still there."""
        self._pipe.write(f"{directory}\n")

    def _end(self) -> None:
        self._pipe.close()
        self._process.wait()


def reap(orders: TextIO) -> None:
    """Follow the orders until their end, then kill every group still watched and remove the directories."""
    watched: set[int] = set()
    directories: list[str] = []
    for order in orders:
        match order[0]:
            case "+":
                watched.add(int(order))
            case "-":
                watched.discard(-int(order))
            case _:
                directories.append(order.removesuffix("\n"))
    for group in watched:
        try:
            os.killpg(group, signal.SIGKILL)
        except ProcessLookupError:
            continue
    for directory in directories:
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    reap(sys.stdin)
