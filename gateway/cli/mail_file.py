"""A mail in a file, or on standard input, as content that can be sent.

Lines in files usually end with LF, lines in mail end with CRLF: they are converted, into an unnamed temporary file,
unless the file is to be sent as it is. A file whose lines end with CRLF already is read where it lies.
"""

import hashlib
import io
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import BinaryIO, Literal

from msgspec import Struct

from gateway.envelope import BLOCK, Content
from gateway.line_ends import LineEndCheck

__all__ = ["STANDARD_INPUT", "Body", "MailFile", "MailFileError", "digests", "open_mail", "with_crlf"]

STANDARD_INPUT = Path("-")

Body = Literal["7BIT", "8BITMIME", "BINARYMIME"]


class MailFileError(ValueError):
    """The file cannot be sent. The message says why."""


class MailFile(Struct, frozen=True):
    """Content, and the BODY that says truly what it is (RFC 6152, RFC 3030 §3). Close the content when it is sent."""

    content: Content
    body: Body


def open_mail(path: Path, *, binary: bool) -> MailFile:
    """The mail at `path`; its line ends stay as they are when `binary`.

    Raises MailFileError when it cannot be read, or has a CR that belongs to no line end and is not to stay.
    """
    try:
        with _open(path) as file:
            is_lines, is_ascii = _look(file)
            body: Body = "7BIT" if is_ascii else "8BITMIME"
            if is_lines:
                return MailFile(_content(file), body)
            if binary:
                return MailFile(_content(file), "BINARYMIME")
            with tempfile.TemporaryFile() as converted:
                _convert(file, converted, path)
                return MailFile(_content(converted), body)
    except OSError as error:
        raise MailFileError(f"{path} cannot be read: {error.strerror or error}") from error


def digests(path: Path) -> tuple[str, ...]:
    """The SHA-256 of the file as it is, and with the line ends with which it is sent, where they are others.

    Raises MailFileError when it cannot be read.
    """
    try:
        with _open(path) as file:
            own = _sha256(file)
            is_lines, _ = _look(file)
            if is_lines:
                return (own,)
            # One with a CR that belongs to no line end is sent as it is, or not at all.
            with tempfile.TemporaryFile() as converted, suppress(MailFileError):
                _convert(file, converted, path)
                return own, _sha256(converted)
            return (own,)
    except OSError as error:
        raise MailFileError(f"{path} cannot be read: {error.strerror or error}") from error


def with_crlf(octets: bytes, path: Path) -> bytes:
    """The same lines with CRLF at their ends. Raises MailFileError for a CR that belongs to no line end."""
    lines = octets.replace(b"\r\n", b"\n")
    if b"\r" in lines:
        raise MailFileError(f"{path} has a CR that belongs to no line end; --binary leaves line ends as they are")
    return lines.replace(b"\n", b"\r\n")


@contextmanager
def _open(path: Path) -> Iterator[BinaryIO]:
    """The file; a copy of one that cannot be read twice."""
    with nullcontext(sys.stdin.buffer) if path == STANDARD_INPUT else path.open("rb") as file:
        if path != STANDARD_INPUT and stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            yield file
        else:
            with tempfile.TemporaryFile() as copy:
                shutil.copyfileobj(file, copy)
                yield copy


def _look(file: BinaryIO) -> tuple[bool, bool]:
    """Whether every line ends with CRLF and no other CR or LF is there; whether all is ASCII."""
    line_ends = LineEndCheck()
    is_ascii = True
    for block in _blocks(file):
        line_ends.read(block)
        is_ascii = is_ascii and block.isascii()
    line_ends.finish()
    return not line_ends.bare, is_ascii


def _convert(file: BinaryIO, converted: BinaryIO, path: Path) -> None:
    held = b""
    for block in _blocks(file):
        # The LF of a last CR may begin the next block.
        octets = held + block
        held = b"\r" if octets.endswith(b"\r") else b""
        converted.write(with_crlf(octets.removesuffix(b"\r"), path))
    converted.write(with_crlf(held, path))


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    file.seek(0)
    while block := file.read(BLOCK):
        yield block


def _sha256(file: BinaryIO) -> str:
    digest = hashlib.sha256()
    for block in _blocks(file):
        digest.update(block)
    return digest.hexdigest()


def _content(file: BinaryIO) -> Content:
    file.flush()
    return Content(file=io.FileIO(os.dup(file.fileno())))
