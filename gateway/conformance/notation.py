r"""How octets are written in a transcript: UTF-8 text with the escapes \r \n \0 \t \\ \xHH."""

import re

__all__ = ["escape", "read_octets", "unescape"]

_ESCAPE = re.compile(r"\\(r|n|0|t|\\|x[0-9a-fA-F]{2})")
_CHARACTERS = {"r": "\r", "n": "\n", "0": "\0", "t": "\t", "\\": "\\"}
_WORDS = {ord(character): f"\\{word}" for word, character in _CHARACTERS.items()}
_REPEAT = re.compile(r"([0-9]+) \* (.*)", re.DOTALL)


def unescape(text: str) -> bytes:
    """The octets that a transcript writes with escapes; other characters are UTF-8."""

    def character(match: re.Match[str]) -> bytes:
        word = match[1]
        return bytes([int(word[1:], 16)]) if word[0] == "x" else _CHARACTERS[word].encode()

    octets = b""
    position = 0
    for match in _ESCAPE.finditer(text):
        octets += text[position : match.start()].encode() + character(match)
        position = match.end()
    return octets + text[position:].encode()


def read_octets(text: str) -> bytes:
    """The octets of `text`, or of `10000 * text` so many times."""
    repeat = _REPEAT.fullmatch(text)
    return unescape(repeat[2]) * int(repeat[1]) if repeat else unescape(text)


def escape(octets: bytes) -> str:
    """The octets as printable ASCII on one line, which `unescape` reads."""
    return "".join(_WORDS.get(octet) or (chr(octet) if 0x20 <= octet < 0x7F else f"\\x{octet:02x}") for octet in octets)
