"""Writing log lines without waiting for whoever reads them.

A pipe whose reader has stopped blocks its writer, and a disk may hang. So lines go into a bounded queue, and a thread
writes them. Lines that find the queue full, or that cannot be written, are lost and counted; once lines are written
again, one of them says how many were lost.
"""

import fcntl
import os
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

import structlog

__all__ = ["LogLines"]

# Some seconds of a gateway under full load.
_MAXIMUM_OCTETS = 8 * 1024 * 1024
# One system call for many lines; and what is being written is no longer in the queue, so it is little.
_WRITE_OCTETS = 64 * 1024
_CLOSING_SECONDS = 1.0
# Under load a thread that is woken for each line costs more than the lines do.
_LINGER_SECONDS = 0.02


class LogLines:
    """A text stream for the descriptor of another one. Writing never waits and raises nothing, in any thread.

    Without a stream, where a process was started with it closed, everything is lost. Processes that share one take
    turns: `turns` is the descriptor of a file that all of them have open for writing, and that is locked meanwhile.
    """

    encoding = "utf-8"

    def __init__(self, stream: TextIO | None, *, turns: int | None = None) -> None:
        self._turns = turns
        self._descriptor = None if stream is None else stream.fileno()
        self._is_terminal = stream is not None and stream.isatty()
        self._queue: deque[bytes] = deque()
        self._queued_octets = 0
        self._lost = 0
        self._cut = False
        self._closed = False
        self._idle = False
        # Reentrant: the garbage collector may run in here, and what it ends may have something to log.
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        # A daemon, since nobody can wait for a write that blocks.
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def write(self, text: str) -> int:
        """Take text, whole lines as a rule, to be written soon and in order."""
        octets = text.encode(errors="backslashreplace")
        with self._lock:
            if self._closed or self._descriptor is None:
                return len(text)
            if self._queued_octets + len(octets) > _MAXIMUM_OCTETS:
                self._lost += octets.count(b"\n")
                return len(text)
            self._queue.append(octets)
            self._queued_octets += len(octets)
            if self._idle:
                self._changed.notify_all()
        return len(text)

    def flush(self) -> None:
        """Nothing to do: what was taken is written without being asked for."""

    def isatty(self) -> bool:
        """Whether a person reads along."""
        return self._is_terminal

    def close(self) -> None:
        """Write what was taken, for a second at most; what is written later is lost."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(_CLOSING_SECONDS)

    def _run(self) -> None:
        while lines := self._next():
            if self._descriptor is None or not self._store(self._descriptor, lines):
                with self._changed:
                    self._lost += lines.count(b"\n")
            elif lost := self._take_lost():
                structlog.get_logger().warning("log lines were lost", count=lost)
            if not self._closed:
                time.sleep(_LINGER_SECONDS)

    def _next(self) -> bytes:
        """What to write next; nothing once the queue is closed and empty."""
        with self._changed:
            self._idle = True
            while not self._queue and not self._closed:
                self._changed.wait()
            self._idle = False
            found: list[bytes] = []
            octets = 0
            while self._queue and octets < _WRITE_OCTETS:
                found.append(self._queue.popleft())
                octets += len(found[-1])
            self._queued_octets -= octets
            return b"".join(found)

    def _store(self, descriptor: int, lines: bytes) -> bool:
        rest = memoryview(b"\n" + lines if self._cut else lines)
        whole = len(rest)
        try:
            with self._turn():
                while rest:
                    rest = rest[os.write(descriptor, rest) :]
        except OSError:
            # No log line can tell of this. What comes next shall not go on in the middle of a line.
            self._cut = self._cut if len(rest) == whole else True
            return False
        self._cut = False
        return True

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if self._turns is None:
            yield
            return
        # The kernel's, of the process: who is killed in the middle keeps nobody waiting.
        fcntl.lockf(self._turns, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.lockf(self._turns, fcntl.LOCK_UN)

    def _take_lost(self) -> int:
        with self._changed:
            lost, self._lost = self._lost, 0
            return lost
