"""Replies (RFC 5321 §4.2) with enhanced status codes (RFC 2034): values that a server writes and a client reads."""

import re
from collections.abc import Collection

from msgspec import Struct, structs

from gateway.smtp.response_codes import ResponseCode, compose, read_text
from gateway.status import Status

__all__ = ["Reply", "ReplySyntaxError", "goes_on", "read_reply"]

# RFC 5321 §4.5.3.1.5: 512 octets with the code and the CRLF.
_LINE_OCTETS = 512
# A client bounds what it reads of one reply; no server says more than this in earnest.
_REPLY_OCTETS = 64 * 1024

_LINE = re.compile(rb"([2-5][0-9]{2})([ -]?)(?:([245]\.[0-9]{1,3}\.[0-9]{1,3}) )?(.*)", re.DOTALL)
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")


class ReplySyntaxError(ValueError):
    """The peer's octets are not a reply of RFC 5321 §4.2."""


class Reply(Struct, frozen=True):
    """One reply: its code, its enhanced status code (None where RFC 2034 §4 wants none), and its lines of text.

    `codes` are the response codes that go with it and `recipient` whom it concerns (LMTP); both are written only to a
    client that has asked for them, and are no part of `str()`.
    """

    code: int
    status: Status | None
    lines: tuple[str, ...]
    codes: tuple[ResponseCode, ...] = ()
    recipient: str = ""

    @classmethod
    def of(cls, code: int, status: str, text: str) -> "Reply":
        """A reply of one line: `Reply.of(503, "5.5.1", "nested MAIL command")`. An empty status means none."""
        return cls(code, Status.parse(status) if status else None, (text,))

    @property
    def is_positive(self) -> bool:
        """Whether the command succeeded (2yz) or may go on (3yz)."""
        return self.code < 400

    def encode(self, *, enhanced: bool, structured: Collection[str] = ()) -> bytes:
        """The octets on the wire, lines cut at 512 octets; `enhanced` says whether status codes are sent.

        `structured` are the names of the response codes that the client has asked for, none if it has not.
        """
        # RFC 2034 §4: the same status code on every line of a reply.
        start = f"{self.status} " if enhanced and self.status is not None else ""
        room = _LINE_OCTETS - 6 - len(start)
        lines = self._with_codes(structured, room) if structured else self.lines
        final = f"{self.code} {start}{_printable(lines[-1])[:room]}\r\n"
        if len(lines) > 1:
            final = "".join(f"{self.code}-{start}{_printable(line)[:room]}\r\n" for line in lines[:-1]) + final
        return final.encode("ascii")

    def with_codes_read(self, known: Collection[str]) -> "Reply":
        """A reply from a peer that may send the codes with these names: they are in `codes`, and no longer in `lines`.

        A line in which a code is malformed, or is none of these, stays as it is.
        """
        texts = [read_text(line, known) for line in self.lines]
        return structs.replace(
            self,
            lines=tuple(text.human for text in texts if not text.is_continued) or ("",),
            codes=tuple(code for text in texts for code in text.codes),
            recipient=next((text.recipient for text in texts if text.recipient), ""),
        )

    def _with_codes(self, asked_for: Collection[str], room: int) -> list[str]:
        codes = [code for code in self.codes if code.name in asked_for]
        return compose(self.recipient, codes, self.lines, room=room)

    def __str__(self) -> str:
        return " ".join(filter(None, (str(self.code), str(self.status or ""), " / ".join(self.lines))))


def _printable(line: str) -> str:
    return line if line.isascii() and line.isprintable() else _UNPRINTABLE.sub("?", line)


def goes_on(octets: bytes, start: int) -> bool:
    """Whether there is no need to `read_reply` yet, for all that the lines say which begin at `start` or behind it.

    It takes no time, where reading a long reply anew with each of its lines would.
    """
    *lines, _ = octets[start:].split(b"\n")
    return len(octets) <= _REPLY_OCTETS and all(line[:3].isdigit() and line[3:4] == b"-" for line in lines)


def read_reply(octets: bytes) -> tuple[Reply, int] | None:
    """The first whole reply in what a server sent, and its length in octets; None while it is not complete.

    Raises ReplySyntaxError when it is no reply, changes its code between lines, or does not end within 64 KiB.
    """
    position = 0
    code: bytes | None = None
    status: Status | None = None
    lines: list[str] = []
    while (end := octets.find(b"\n", position)) >= 0 and end < _REPLY_OCTETS:
        match = _LINE.fullmatch(octets[position:end].removesuffix(b"\r"))
        position = end + 1
        if match is None:
            raise ReplySyntaxError("the server's answer is not an SMTP reply")
        if code is not None and match[1] != code:
            raise ReplySyntaxError("the server changed the code within one reply")
        code = match[1]
        if match[3] is not None:
            status = Status.parse(match[3].decode())
        lines.append(match[4].decode("utf-8", "replace"))
        if match[2] != b"-":
            return Reply(int(code), status, tuple(lines)), position
    if len(octets) > _REPLY_OCTETS:
        raise ReplySyntaxError("the server's reply does not end")
    return None
