"""What processes have used, from proc(5): CPU time, memory at its peak, octets written to storage.

A process's own figures go to its parent when that has waited for it, and are counted there: what short-lived children
have used is not lost.
"""

import os
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

__all__ = ["Meter", "Usage", "cpu_seconds", "wait_until_idle"]

_TICK = os.sysconf("SC_CLK_TCK")
_IDLE_SHARE = 0.05
_LOOK_SECONDS = 0.2
_SETTLE_SECONDS = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Of one contender in one turn. Memory is the sum of its processes' peaks; what they share counts in each."""

    cpu_seconds: float
    resident_bytes: int
    written_bytes: int


class Meter:
    """Reads the processes `pids` and all below them, from its construction on."""

    def __init__(self, pids: Sequence[int]) -> None:
        self._pids = pids
        for pid in _tree(pids):
            # The peak begins anew.
            with suppress(OSError):
                Path(f"/proc/{pid}/clear_refs").write_text("5")
        self._cpu, self._written = cpu_seconds(pids), _written(pids)

    def read(self) -> Usage:
        """What was used since."""
        return Usage(
            cpu_seconds=cpu_seconds(self._pids) - self._cpu,
            resident_bytes=sum(_field(pid, "status", "VmHWM") * 1024 for pid in _tree(self._pids)),
            written_bytes=_written(self._pids) - self._written,
        )


def cpu_seconds(pids: Sequence[int]) -> float:
    """User and system time of the processes, those below them, and their children that have ended."""
    ticks = 0
    for pid in _tree(pids):
        with suppress(OSError):
            # The name, in parentheses, may hold anything; utime is the 12th field behind it.
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(int(field) for field in fields[11:15])
    return ticks / _TICK


def wait_until_idle(pids: Sequence[int]) -> None:
    """Return once the processes have used less than a twentieth of a processor for a moment."""
    deadline = time.monotonic() + _SETTLE_SECONDS
    before = cpu_seconds(pids)
    while time.monotonic() < deadline:
        time.sleep(_LOOK_SECONDS)
        now = cpu_seconds(pids)
        if now - before <= _IDLE_SHARE * _LOOK_SECONDS:
            return
        before = now
    raise TimeoutError(f"a contender did not come to rest within {_SETTLE_SECONDS:g} s")


def _tree(pids: Sequence[int]) -> list[int]:
    found = list(pids)
    for pid in pids:
        with suppress(psutil.NoSuchProcess):
            found += [child.pid for child in psutil.Process(pid).children(recursive=True)]
    return found


def _written(pids: Sequence[int]) -> int:
    return sum(_field(pid, "io", "write_bytes") for pid in _tree(pids))


def _field(pid: int, file: str, name: str) -> int:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/{file}").read_text().splitlines():
            key, _, value = line.partition(":")
            if key == name:
                return int(value.split()[0])
    return 0
