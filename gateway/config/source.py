"""From a file to the configuration in it, or to everything that is wrong with it."""

import hashlib
import json
import os
import re
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path

from gateway.config.assembly import Config, assemble
from gateway.config.lines import KeyPath, key_lines, line_of

__all__ = ["BUILT_IN", "ConfigError", "Problem", "load", "read"]

BUILT_IN = """\
[[listener]]
name = "smtp"
protocol = "smtp"
bind = "127.0.0.1:2525"

[[listener]]
name = "lmtp"
protocol = "lmtp"
bind = "127.0.0.1:2424"

[[connector]]
name = "archive"
type = "directory"
path = "mail"

[[route]]
recipients = ["*"]
connectors = ["archive"]
"""
"""What runs when no file is given: both protocols on the loopback interface, mail kept in `./mail`."""

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong. `line` is 0 where no line can be named, `key` empty where no key can."""

    line: int
    key: str
    text: str


class ConfigError(Exception):
    """The configuration cannot be used; `problems` has everything that is wrong with it, in the order of lines."""

    def __init__(self, source: str, problems: tuple[Problem, ...]) -> None:
        self.source = source
        self.problems = problems
        super().__init__(source, problems)

    def __str__(self) -> str:
        return "\n".join(
            _printable(": ".join(filter(None, (f"{self.source}:{p.line}" if p.line else self.source, p.key, p.text))))
            for p in self.problems
        )


def load(path: Path | None) -> Config:
    """The configuration in the file at `path`, or the built-in one for None. Raises ConfigError."""
    if path is None:
        return read(BUILT_IN, source="built-in configuration")
    try:
        octets = path.read_bytes()
    except OSError as error:
        raise ConfigError(str(path), (_problem(f"cannot be read: {os.strerror(error.errno or 0)}"),)) from error
    try:
        document = octets.decode("utf-8")
    except UnicodeDecodeError as error:
        line = octets.count(b"\n", 0, error.start) + 1
        raise ConfigError(str(path), (_problem("is not UTF-8, as TOML must be", line=line),)) from error
    return read(document, source=str(path))


def read(document: str, *, source: str) -> Config:
    """The configuration in a TOML document, which problems call `source`. Raises ConfigError."""
    try:
        tables = tomllib.loads(document)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(source, (_syntax_problem(str(error), document),)) from error
    outcome = assemble(tables)
    if isinstance(outcome, Config):
        return replace(outcome, digest=hashlib.sha256(document.encode()).hexdigest())
    lines = key_lines(document)
    problems = {Problem(line=line_of(f.path, lines), key=_written(f.path), text=f.text) for f in outcome}
    raise ConfigError(source, tuple(sorted(problems, key=lambda p: (p.line, p.key, p.text))))


def _problem(text: str, *, line: int = 0) -> Problem:
    return Problem(line=line, key="", text=text)


def _syntax_problem(message: str, document: str) -> Problem:
    # `tomllib` has the place only as words at the end of its message.
    place = re.search(r" \((?:at line (\d+), column \d+|at end of document)\)\Z", message)
    text = message[: place.start()] if place else message
    line = int(place[1]) if place and place[1] else document.rstrip().count("\n") + 1
    return _problem(f"is no TOML: {text[:1].lower()}{text[1:]}", line=line)


def _written(path: KeyPath) -> str:
    """A key path the way a reader of TOML would say it: `listener.tls.key_file`, `route.recipients[0]`."""
    words: list[str] = []
    for position, key in enumerate(path):
        if isinstance(key, str):
            words.append(key if _BARE_KEY.match(key) else json.dumps(key, ensure_ascii=False))
        elif position > 1:
            words[-1] += f"[{key}]"
    return ".".join(words)


def _printable(text: str) -> str:
    # A problem is one line, whatever the document's texts hold.
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)
