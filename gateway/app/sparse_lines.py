"""The few lines of a process that must have no threads, since it forks, and that shares its stream with others."""

import fcntl
import os
import select
import time
from collections import deque
from typing import TextIO

__all__ = ["SparseLines"]

# What a pipe that can be written to takes at once, and whole (PIPE_BUF).
_LONGEST_LINE = 4096
_MOST_LINES = 1000
_CLOSING_SECONDS = 1.0
_POLL_SECONDS = 0.02


class SparseLines:
    """A text stream for the descriptor of another one. Writing takes whole lines, never waits, and raises nothing.

    What cannot be written at once is kept until `flush` can; of too many such lines the oldest are lost. `turns` is
    what LogLines says.
    """

    encoding = "utf-8"

    def __init__(self, stream: TextIO | None, *, turns: int) -> None:
        self._descriptor = None if stream is None else stream.fileno()
        self._is_terminal = stream is not None and stream.isatty()
        self._turns = turns
        self._kept: deque[bytes] = deque(maxlen=_MOST_LINES)

    def write(self, text: str) -> int:
        """Take text, to be written now or soon."""
        for line in text.splitlines():
            self._kept.append(line.encode(errors="backslashreplace")[: _LONGEST_LINE - 1] + b"\n")
        self.flush()
        return len(text)

    def flush(self) -> bool:
        """Write what is kept, as far as nobody has to be waited for; whether nothing is left."""
        if self._descriptor is None:
            self._kept.clear()
        try:
            while self._kept and self._descriptor is not None:
                # Whose turn it is may hang on a reader; so does nobody here.
                fcntl.lockf(self._turns, fcntl.LOCK_EX | fcntl.LOCK_NB)
                try:
                    if not select.select((), (self._descriptor,), (), 0)[1]:
                        break
                    os.write(self._descriptor, self._kept[0])
                    self._kept.popleft()
                finally:
                    fcntl.lockf(self._turns, fcntl.LOCK_UN)
        except OSError:
            # No log line can tell of this.
            pass
        return not self._kept

    def isatty(self) -> bool:
        """Whether a person reads along."""
        return self._is_terminal

    def close(self) -> None:
        """Write what is kept, for a second at most."""
        deadline = time.monotonic() + _CLOSING_SECONDS
        while not self.flush() and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
