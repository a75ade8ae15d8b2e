"""Readers for message content: DATA (RFC 5321 §4.5.2) and counted chunks (RFC 3030 §2).

Only CRLF ends a line, and only CRLF "." CRLF ends DATA: a receiver that takes anything else for a line end can be made
to see a second message (SMTP smuggling). A bare CR or LF is therefore noticed, never acted on; the session refuses the
message at its true end. The readers know nothing of sizes, sessions or storage.
"""

__all__ = ["DotReader", "LineEndCheck"]

_END = b"\r\n.\r\n"


class DotReader:
    """Takes the octets that follow DATA's 354 and gives the content, dot-stuffing undone, until CRLF "." CRLF.

    DATA's own CRLF counts as the line end before a first "." (RFC 5321 §4.1.1.4), so the reader starts as if it held a
    CRLF. What it holds back is at most the four octets that might begin the end.
    """

    __slots__ = ("_at_start", "_held", "bare", "done")

    def __init__(self) -> None:
        self._held = b"\r\n"
        self._at_start = True
        self.bare = False
        self.done = False

    def read(self, octets: bytes, start: int = 0) -> tuple[bytes, int]:
        """The content in `octets` from `start` on, and the position behind it and, once `done`, the end of DATA."""
        # Where content stands among pipelined commands, no more is copied than belongs to it.
        found = octets.find(_END, start) if start else -1
        stop = found + 5 if found >= 0 else len(octets)
        taken = self._held + octets[start:stop]
        # Large content has few dots as a rule, and one octet is found ten times as fast as several.
        has_dots = b"." in taken
        end = taken.find(_END) if has_dots else -1
        if end >= 0:
            self.done = True
            stop -= len(taken) - (end + 5)
            content = taken[: end + 2]
        else:
            held = self._length_to_hold(taken)
            content = taken[: len(taken) - held]
            self._held = taken[len(taken) - held :]
        # A CRLF is never split between two calls, since its CR would be held: counting is enough to find a bare one.
        lines = content.count(b"\r\n")
        if content.count(b"\n") != lines or content.count(b"\r") != lines:
            self.bare = True
        if has_dots and b"\r\n." in content:
            content = content.replace(b"\r\n.", b"\r\n")
        if self._at_start and content:
            self._at_start = False
            content = content[2:]
        return content, stop

    @staticmethod
    def _length_to_hold(octets: bytes) -> int:
        for length in (4, 3, 2, 1):
            if octets.endswith(_END[:length]):
                return length
        return 0


class LineEndCheck:
    """Notices a bare CR or LF in content that comes in pieces, wherever the pieces are cut."""

    __slots__ = ("_after_cr", "bare")

    def __init__(self) -> None:
        self._after_cr = False
        self.bare = False

    def read(self, octets: bytes) -> None:
        """Look at the next octets."""
        if not octets or self.bare:
            return
        lines = octets.count(b"\r\n")
        line_feeds = octets.count(b"\n")
        if self._after_cr:
            if octets[0] != 0x0A:
                self.bare = True
            line_feeds -= 1
        self._after_cr = octets[-1] == 0x0D
        if line_feeds != lines or octets.count(b"\r") - self._after_cr != lines:
            self.bare = True

    def finish(self) -> None:
        """There are no more octets: a CR at the very end is bare."""
        self.bare = self.bare or self._after_cr
