"""Readers for message content: DATA (RFC 5321 §4.5.2) and counted chunks (RFC 3030 §2).

Only CRLF ends a line, and only CRLF "." CRLF ends DATA: a receiver that takes anything else for a line end can be made
to see a second message (SMTP smuggling). A bare CR or LF is therefore noticed, never acted on; the session refuses the
message at its true end. The readers know nothing of sizes, sessions or storage.
"""

from gateway.line_ends import LineEndCheck

__all__ = ["DotReader"]

_END = b"\r\n.\r\n"


class DotReader:
    """Takes the octets that follow DATA's 354 and gives the content, dot-stuffing undone, until CRLF "." CRLF.

    DATA's own CRLF counts as the line end before a first "." (RFC 5321 §4.1.1.4), so the reader starts as if it held a
    CRLF. What it holds back is at most the four octets that might begin the end.
    """

    __slots__ = ("_at_start", "_held", "_line_ends", "done")

    def __init__(self) -> None:
        self._held = b"\r\n"
        self._at_start = True
        self._line_ends = LineEndCheck()
        self.done = False

    @property
    def bare(self) -> bool:
        """Whether there was a bare CR or LF."""
        return self._line_ends.bare

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
        self._line_ends.read(content)
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
