"""The grammar of command lines (RFC 5321 §4.1), used by the server and the client side alike.

Everything a line says is read here, once; no other module splits a string that a peer sent.
"""

import re

from msgspec import Struct

__all__ = [
    "ChunkArgument",
    "CommandSyntaxError",
    "chunk_argument",
    "command",
    "decode_xtext",
    "encode_xtext",
    "hello_name",
    "is_xtext",
    "parameters",
    "path_argument",
]


class CommandSyntaxError(ValueError):
    """A command's argument does not follow its grammar. The message is fit for the reply."""


# RFC 5321 §4.1.2. A quoted local-part may hold ">", so the path's end is not simply the first one.
_PATH_ARGUMENT = re.compile(rb' ?<((?:"(?:[^"\\]|\\.)*"|[^<>"])*)>(?: +(.*))?\Z', re.DOTALL)
_PARAMETER = re.compile(rb"([A-Za-z0-9][A-Za-z0-9-]*)(?:=([!-<>-~\x80-\xff]+))?\Z")
_CHUNK_SIZE = re.compile(rb"([0-9]{1,20})(?: +(.*))?\Z", re.DOTALL)
_XTEXT = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})*\Z")
_XTEXT_ESCAPE = re.compile(r"\+([0-9A-F]{2})")
_HELLO_NAME = re.compile(rb"[!-~\x80-\xff]{1,255}\Z")

_LARGEST_CHUNK = 2**63 - 1


def command(line: bytes) -> tuple[bytes, bytes]:
    """The verb in upper case and its argument; trailing blanks are tolerated (RFC 5321 §4.1.1)."""
    verb, _, argument = line.partition(b" ")
    return verb.upper(), argument.rstrip(b" ")


def hello_name(argument: bytes) -> str:
    """The name a client gives itself. Anything printable: RFC 5321 §4.1.4 forbids refusing mail for a bad one."""
    if not _HELLO_NAME.match(argument):
        raise CommandSyntaxError("a host name is missing")
    return argument.decode("ascii", "backslashreplace")


def path_argument(argument: bytes, keyword: bytes) -> tuple[bytes, bytes]:
    """For `FROM:<path> parameters` the octets of the path, without brackets, and of the parameters."""
    if argument[: len(keyword)].upper() != keyword:
        raise CommandSyntaxError(f"use {keyword.decode()}<address>")
    match = _PATH_ARGUMENT.match(argument, len(keyword))
    if match is None:
        raise CommandSyntaxError(f"use {keyword.decode()}<address>")
    return match[1], match[2] or b""


def parameters(octets: bytes) -> tuple[tuple[str, str], ...]:
    """ESMTP parameters (RFC 5321 §4.1.2), keywords in upper case, in order; an absent value is empty.

    Raises CommandSyntaxError for bad syntax and for a parameter given twice.
    """
    if not octets:
        return ()
    found: dict[str, str] = {}
    for word in octets.split(b" "):
        if not word:
            continue
        match = _PARAMETER.match(word)
        if match is None:
            raise CommandSyntaxError("a parameter is malformed")
        keyword = match[1].decode().upper()
        if keyword in found:
            raise CommandSyntaxError(f"{keyword} is given twice")
        try:
            found[keyword] = (match[2] or b"").decode("utf-8")
        except UnicodeDecodeError:
            raise CommandSyntaxError(f"the value of {keyword} is not UTF-8") from None
    return tuple(found.items())


class ChunkArgument(Struct, frozen=True):
    """The argument of BDAT and BMTD: octets that follow, whether they are the last, and what is wrong with the rest."""

    size: int
    last: bool
    error: str = ""


def chunk_argument(argument: bytes) -> ChunkArgument:
    """Read `size [LAST]` (RFC 3030 §2, MD00 §6).

    Raises CommandSyntaxError when the size cannot be read: where the payload ends is then unknown (B16). With a
    readable size and a bad rest the payload can still be skipped, so that is told in `error` (B17).
    """
    match = _CHUNK_SIZE.match(argument)
    if match is None or int(match[1]) > _LARGEST_CHUNK:
        raise CommandSyntaxError("the chunk size is not a number of octets")
    size = int(match[1])
    if match[2] is None:
        return ChunkArgument(size, last=False)
    if match[2].upper() == b"LAST":
        return ChunkArgument(size, last=True)
    return ChunkArgument(size, last=False, error="only LAST may follow the chunk size")


def is_xtext(value: str) -> bool:
    """Whether `value` is xtext (RFC 3461 §4)."""
    return _XTEXT.match(value) is not None


def decode_xtext(value: str) -> bytes:
    """The octets that an xtext encodes."""
    return _XTEXT_ESCAPE.sub(lambda match: chr(int(match[1], 16)), value).encode("latin-1")


def encode_xtext(octets: bytes) -> str:
    """The xtext of some octets: `+` and `=` and everything unprintable as `+HH`."""
    return "".join(chr(octet) if 0x21 <= octet <= 0x7E and octet not in b"+=" else f"+{octet:02X}" for octet in octets)
