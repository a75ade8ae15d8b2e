r"""A check: a conversation with any server, and what a rule demands of the server's replies.

It is a text file, `checks/<name>.smtp`, in the manner of a transcript:

    # what the server does, in one sentence
    @ rule B24                                its number in docs/protocol-rules.md, where it has one
    @ source RFC 3030 §2; MD00 §3.1           the sections that demand it
    @ level should                            where they only advise it
    @ needs CHUNKING PIPELINING               the EHLO keywords without which there is nothing to check
    @ protocol lmtp                           where it is about one protocol alone
    @ why                                     what goes wrong where the server does otherwise
    -- hello                                  EHLO or LHLO, and a positive reply
    C: MAIL FROM:<{from}>                     a line of the client, CRLF added
    O: \x00\x01$Forwarded                     octets of the client, nothing added
    G: 2                                      a reply that must be so for the check to mean anything: any 2yz
    S: 503                                    a reply that the rule demands
    S: 4 5                                    … any of these
    S: 5 closed                               … or the end of the connection, which ends the check
    -- end                                    what the server does from here on is its own business

What stands between two replies is sent at once. `{from}`, `{to}`, `{message}` and `{octets}` are the addresses, a
message, and its length; `{hello}` is `{verb}`, EHLO or LHLO, with `{domain}`, a name. A check that does not end with
`-- end` ends with QUIT, and the next reply must be its 221: a server that has said too much, or taken QUIT for
content, is found out then.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files

from gateway.conformance.notation import read_octets

__all__ = ["CHECKS", "Check", "End", "Expect", "Hello", "Requirement", "Say", "UnknownSection", "read_check", "select"]

_PROTOCOLS = ("smtp", "lmtp")
_PLACEHOLDER = re.compile(r"\{([a-z]+)\}")
_SOURCE = re.compile(r"([a-z]+)[ -]?([0-9]+)[ §]*([0-9.]*)")
_CODE = re.compile(r"[2-5]([0-9]{2})?")


class UnknownSection(ValueError):
    """No check has such a source. The message is one sentence with those that there are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """What is demanded, and by whom. `must` is whether it is more than advice."""

    name: str
    title: str
    rules: tuple[str, ...] = ()
    sources: tuple[str, ...]
    must: bool = True
    needs: tuple[str, ...] = ()
    protocols: tuple[str, ...] = _PROTOCOLS
    why: str


@dataclass(frozen=True, slots=True)
class Say:
    """What the client sends; `text` may have placeholders."""

    text: str
    line: bool

    def octets(self, values: dict[str, bytes]) -> bytes:
        """The octets on the wire, with `values` for the placeholders as they are."""
        words = _PLACEHOLDER.split(self.text)
        octets = read_octets(words[0])
        for name, text in zip(words[1::2], words[2::2], strict=True):
            octets += values[name] + read_octets(text)
        return octets + b"\r\n" if self.line else octets


@dataclass(frozen=True, slots=True)
class Expect:
    """A reply: its code, or first digit. Where `given`, another one only means that the check cannot be made."""

    codes: tuple[str, ...]
    closing: bool
    given: bool

    def accepts(self, code: int) -> bool:
        """Whether a reply of this code is what is expected."""
        return str(code).startswith(self.codes)

    def __str__(self) -> str:
        codes = [code if len(code) == 3 else f"{code}yz" for code in self.codes]
        return " or ".join([*codes, "the end of the connection"] if self.closing else codes)


@dataclass(frozen=True, slots=True)
class Hello:
    """A hello, and a positive reply to it."""


@dataclass(frozen=True, slots=True)
class End:
    """Nothing is asked of the server from here on."""


Step = Say | Expect | Hello | End


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One conversation."""

    requirement: Requirement
    steps: tuple[Step, ...]

    @property
    def needs_recipient(self) -> bool:
        """Whether somebody must be there whom the server takes mail for."""
        return any(isinstance(step, Say) and "{to}" in step.text for step in self.steps)


def read_check(name: str, text: str) -> Check:
    """Read one file. Raises ValueError, which is a mistake of who wrote it."""
    first, *lines = text.splitlines()
    stated: dict[str, str] = {}
    steps: list[Step] = []
    for number, line in enumerate(lines, 2):
        kind, rest = line[:3], line[3:]
        if line.startswith("@ "):
            key, _, value = line[2:].partition(" ")
            stated[key] = f"{stated[key]} {value}" if key in stated else value
        elif line:
            try:
                steps.append(_step(kind, rest))
            except ValueError as error:
                raise ValueError(f"{name}, line {number}: {error}") from None
    if not first.startswith("# ") or not stated.keys() >= {"source", "why"}:
        raise ValueError(f"{name}: a check has a title, a source and says why")
    if unknown := stated.keys() - {"rule", "source", "level", "needs", "protocol", "why"}:
        raise ValueError(f"{name}: a check states no {', '.join(sorted(unknown))}")
    requirement = Requirement(
        name=name,
        title=first[2:],
        rules=tuple(stated.get("rule", "").split()),
        sources=tuple(stated["source"].split("; ")),
        must=stated.get("level", "must") == "must",
        needs=tuple(stated.get("needs", "").split()),
        protocols=(stated["protocol"],) if "protocol" in stated else _PROTOCOLS,
        why=stated["why"],
    )
    return Check(requirement=requirement, steps=tuple(steps))


def _step(kind: str, rest: str) -> Step:
    match kind, rest:
        case (("C: " | "O: "), _):
            return Say(rest, kind == "C: ")
        case (("S: " | "G: "), _):
            codes = [word for word in rest.split() if word != "closed"]
            closing = "closed" in rest.split()
            if not (codes or closing) or not all(map(_CODE.fullmatch, codes)):
                raise ValueError(f"{rest!r} are no reply codes")
            return Expect(tuple(codes), closing, kind == "G: ")
        case "-- ", "hello":
            return Hello()
        case "-- ", "end":
            return End()
        case _:
            raise ValueError(f"{kind + rest!r} is not a line of a check")


def select(requirements: Iterable[Requirement], section: str) -> set[str]:
    """The names of those with a source in `section`: `RFC 3030`, `MD00 §3`. Raises UnknownSection for none."""
    requirements = tuple(requirements)
    wanted = _place(section)
    found = {
        each.name for each in requirements if any(_place(source)[: len(wanted)] == wanted for source in each.sources)
    }
    if not wanted or not found:
        known = sorted({source for each in requirements for source in each.sources})
        raise UnknownSection(f'nothing is checked of "{section}"; there are {", ".join(known)}')
    return found


def _place(source: str) -> tuple[str, ...]:
    """The document and the numbers of the section, from the outside in; nothing for what is no source."""
    match = _SOURCE.fullmatch(source.lower())
    if match is None:
        return ()
    return (match[1] + match[2], *filter(None, match[3].split(".")))


def _shipped() -> tuple[Check, ...]:
    folder = files("gateway.conformance") / "checks"
    found = [
        read_check(entry.name.removesuffix(".smtp"), entry.read_text(encoding="utf-8"))
        for entry in folder.iterdir()
        if entry.name.endswith(".smtp")
    ]
    return tuple(sorted(found, key=lambda check: (check.requirement.sources[0], check.requirement.name)))


CHECKS = _shipped()
"""The checks that come with the gateway, by section."""
