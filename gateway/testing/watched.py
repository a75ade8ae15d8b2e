"""Content that notices when, and how late, it is read."""

import threading
from collections.abc import Callable
from typing import Self

from gateway.envelope import Content

__all__ = ["WatchedContent"]


class WatchedContent(Content):
    """The octets of another content. `on_read` is called with it before each read, in the thread that reads.

    `was_read_late` tells whether anything was read after `emit_has_ended()`, or was about to be read by then.
    """

    __slots__ = ("_about_to_read", "_has_ended", "_lock", "_on_read", "_watched", "was_read_late")

    def __init__(self, watched: Content, on_read: "Callable[[WatchedContent], None] | None" = None) -> None:
        super().__init__()
        self.size = watched.size
        self._watched = watched
        self._on_read = on_read
        self._lock = threading.Lock()
        self._about_to_read = 0
        self._has_ended = False
        self.was_read_late = False

    def emit_has_ended(self) -> None:
        """From now on nobody has a reason to read."""
        with self._lock:
            self._has_ended = True
            self.was_read_late |= self._about_to_read > 0

    def derive(self, *, prefix: bytes = b"", omit: tuple[tuple[int, int], ...] = ()) -> Self:
        """A derived form that is watched together with this one."""
        return type(self)(self._watched.derive(prefix=prefix, omit=omit), lambda _: self._notice_read())

    def read_at(self, position: int, size: int) -> bytes:
        """Up to `size` octets from `position`, noticed."""
        self._notice_read()
        return self._watched.read_at(position, size)

    def close(self) -> None:
        """The watched content belongs to whoever made it."""

    def _notice_read(self) -> None:
        with self._lock:
            self._about_to_read += 1
            self.was_read_late |= self._has_ended
        try:
            if self._on_read is not None:
                self._on_read(self)
        finally:
            with self._lock:
                self._about_to_read -= 1
