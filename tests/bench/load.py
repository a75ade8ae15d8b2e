"""What is sent to a contender, and by what: Postfix's `smtp-source`, or the generator beside this file.

`smtp-source` speaks to everybody and knows neither pipelining nor BDAT; the generator knows both. Either is a process
of its own, whose cost is measured and told.
"""

import json
import resource
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from typing import Literal

from tests.servers.processes import find_program

__all__ = ["KB", "MB", "Failed", "Load", "Sent", "generated", "send", "smtp_source"]

KB = 1024
MB = 1024 * KB

_SECONDS = 300.0
_SENDER = "sender@example.net"
_RECIPIENT = "recipient@example.org"


class Failed(Exception):
    """A contender did not take all mails; the text says what it answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Mails of one kind. `size` is in octets; `containers` is how many metadata containers each mail has.

    With `one_each`, a connection has one mail and ends; otherwise it has as many as there are for it.
    """

    tool: Literal["smtp-source", "generator"]
    size: int
    sessions: int
    command: Literal["DATA", "BDAT"] = "DATA"
    dialect: Literal["SMTP", "LMTP"] = "SMTP"
    recipients: int = 1
    containers: int = 0
    one_each: bool = False

    @property
    def manner(self) -> str:
        """How it is said to whoever takes loads from both tools."""
        return f"{self}, pipelined" if self.tool == "generator" else str(self)

    def __str__(self) -> str:
        size = f"{self.size // MB} MB" if self.size >= MB else f"{self.size // KB} KB"
        words = [size, self.command if self.dialect == "SMTP" else f"{self.dialect} {self.command}"]
        if self.containers:
            words.append(f"{self.containers} containers")
        if self.recipients > 1:
            words.append(f"{self.recipients} recipients")
        words.append(f"{self.sessions} session{'' if self.sessions == 1 else 's'}")
        return ", ".join(words) + (", one mail each" if self.one_each else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """Mails that were all accepted. Latency is that of the final reply, which only the generator knows."""

    mails: int
    seconds: float
    cpu_seconds: float
    p50_seconds: float | None = None
    p99_seconds: float | None = None


def smtp_source(size: int, sessions: int, *, one_each: bool = False) -> Load:
    """What every contender can be asked: DATA, command by command."""
    return Load(tool="smtp-source", size=size, sessions=sessions, one_each=one_each)


def generated(
    size: int,
    sessions: int,
    command: Literal["DATA", "BDAT"],
    *,
    containers: int = 0,
    recipients: int = 1,
    dialect: Literal["SMTP", "LMTP"] = "SMTP",
) -> Load:
    """Pipelined, from octets that were put together beforehand."""
    return Load(
        tool="generator",
        size=size,
        sessions=sessions,
        command=command,
        containers=containers,
        recipients=recipients,
        dialect=dialect,
    )


def send(load: Load, port: int, mails: int) -> Sent:
    """Send so many mails to a loopback port and return once each has its final reply. Raises Failed."""
    return (_by_smtp_source if load.tool == "smtp-source" else _by_generator)(load, port, mails)


def _by_smtp_source(load: Load, port: int, mails: int) -> Sent:
    command = [
        str(find_program("smtp-source")),
        *("-s", str(load.sessions), "-m", str(mails), "-l", str(load.size), "-f", _SENDER, "-t", _RECIPIENT),
        *(() if load.one_each else ("-d",)),
        f"127.0.0.1:{port}",
    ]
    before, began = _children_cpu(), time.perf_counter()
    _finish(command)
    return Sent(mails=mails, seconds=time.perf_counter() - began, cpu_seconds=_children_cpu() - before)


def _by_generator(load: Load, port: int, mails: int) -> Sent:
    order = json.dumps({"load": asdict(load), "port": port, "mails": mails})
    return Sent(mails=mails, **json.loads(_finish([sys.executable, "-m", "tests.bench.generator", order])))


def _finish(command: list[str]) -> str:
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as late:
        raise Failed(f"not all mails were answered within {_SECONDS:g} s") from late
    if done.returncode:
        raise Failed((done.stderr.strip().splitlines() or ["the load generator ended without a word"])[-1])
    return done.stdout


def _children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
