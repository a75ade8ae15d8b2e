r"""Response codes: what a reply says to programs, in brackets before the text for people.

    reply-text   = [status-code SP] [rcpt-path SP] *(resp-code SP) human
    rcpt-path    = "<" path ">"                                   ; RFC 5321 §4.1.2, with a quoted local-part
    resp-code    = "[" code-name *(SP param) "]"
    code-name    = ALPHA *(ALPHA / DIGIT / "-")                   ; upper and lower case are the same
    param        = 1*(%x21 / %x23-5A / %x5E-7E) / quoted          ; without quotes no SP " [ \ ]
    quoted       = DQUOTE *(%x20-21 / %x23-5B / %x5D-7E / "\" (DQUOTE / "\")) DQUOTE
    human        = text that does not begin with "["

IMAP ends a code at the first "]", which a URL with an IPv6 address has inside; so parameters can be quoted here. The
path is read as a path: brackets in a quoted local-part are no code, whoever chose the address. Codes never change what
the reply's number says.
"""

import re
from collections.abc import Collection, Sequence

from msgspec import Struct

__all__ = ["ReplyText", "ResponseCode", "compose", "is_code_name", "read_text"]

_NAME = r"[A-Za-z][A-Za-z0-9-]*"
_ATOM = r"[!#-Z^-~]+"
_QUOTED = r'"(?:[ !#-\[\]-~]|\\["\\])*"'
_PATH = re.compile(r'<((?:"(?:[^"\\]|\\.)*"|[^<>"])*)> ')
_CODE = re.compile(rf"\[({_NAME})((?: (?:{_ATOM}|{_QUOTED}))*)\](?: |\Z)")
_PARAMETER = re.compile(rf" (?:({_ATOM})|({_QUOTED}))")
_ESCAPED = re.compile(r'\\(["\\])')
_TO_ESCAPE = re.compile(r'(["\\])')

# What stands for people in a line that has codes only. No line ends with a blank, which is lost too easily.
_CONTINUED = "continued"


class ResponseCode(Struct, frozen=True):
    """One code; its name in upper case. Its parameters may be tokens, so a repr is without them.

    Raises ValueError for what the grammar cannot write.
    """

    name: str
    parameters: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not is_code_name(self.name) or self.name != self.name.upper():
            raise ValueError("the name of a response code is letters, digits and hyphens, in upper case")
        if not all(each.isascii() and each.isprintable() for each in self.parameters):
            raise ValueError("a parameter of a response code is printable ASCII")

    def __str__(self) -> str:
        return f"[{' '.join((self.name, *map(_written, self.parameters)))}]"

    def __repr__(self) -> str:
        return f"[{self.name}{' …' if self.parameters else ''}]"


class ReplyText(Struct, frozen=True):
    """One line of a reply behind its status code. Without codes all of it is `human`, and there is no `recipient`."""

    recipient: str
    codes: tuple[ResponseCode, ...]
    human: str

    @property
    def is_continued(self) -> bool:
        """Whether the line has codes only, and the text comes in another one."""
        return bool(self.codes) and self.human == _CONTINUED


def is_code_name(text: str) -> bool:
    """Whether this is a name that a code can have."""
    return re.fullmatch(_NAME, text) is not None


def read_text(text: str, known: Collection[str]) -> ReplyText:
    """Read one line of a reply that may have the codes with these names, in upper case.

    Raises nothing: where anything in it is malformed, is not known or comes twice, all of the text is for people.
    """
    plain = ReplyText("", (), text)
    path = _PATH.match(text)
    position = path.end() if path is not None else 0
    codes: dict[str, ResponseCode] = {}
    while text.startswith("[", position):
        match = _CODE.match(text, position)
        if match is None:
            return plain
        name = match[1].upper()
        if name not in known or name in codes:
            return plain
        codes[name] = ResponseCode(name, tuple(_read(*found) for found in _PARAMETER.findall(match[2])))
        position = match.end()
    if not codes:
        return plain
    return ReplyText(path[1] if path is not None else "", tuple(codes.values()), text[position:])


def compose(recipient: str, codes: Sequence[ResponseCode], human: Sequence[str], *, room: int) -> list[str]:
    """The lines of a reply with codes, none longer than `room`; a code that fits into none is left out.

    With a `recipient` (LMTP) each line begins with the path and takes as many codes as it can, each name once; without
    one each line has one code. The path is left out where it cannot be written, or a code would not fit behind it.
    """
    path = f"<{recipient}> " if recipient and recipient.isascii() and recipient.isprintable() else ""
    lines: list[str] = []
    names: set[str] = set()
    for code in codes:
        group = f"{code} "
        needed = len(group) + len(_CONTINUED)
        if recipient and lines and code.name not in names and len(lines[-1]) + needed <= room:
            lines[-1] += group
            names.add(code.name)
        elif needed <= room:
            lines.append((path if len(path) + needed <= room else "") + group)
            names = {code.name}
    first, *others = map(_not_a_code, human)
    if not lines or len(lines[-1]) + len(first) > room:
        lines.append(path if len(path) + len(first) <= room else "")
    *before, last = lines
    return [*(f"{line}{_CONTINUED}" for line in before), last + first, *others]


def _written(parameter: str) -> str:
    return parameter if re.fullmatch(_ATOM, parameter) else '"' + _TO_ESCAPE.sub(r"\\\1", parameter) + '"'


def _read(atom: str, quoted: str) -> str:
    return atom or _ESCAPED.sub(r"\1", quoted[1:-1])


def _not_a_code(human: str) -> str:
    # A destination's own words may begin with a bracket; a reader would take them for a code, or for a path before one.
    return f"- {human}" if human.startswith(("[", "<")) else human
