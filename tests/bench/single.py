"""The figures that are no cells: memory, starts with a full spool, instruction counts, the store by itself."""

import tempfile
from collections.abc import Callable, Mapping, MutableMapping
from pathlib import Path

from tests.bench import hot_path, idle, instructions, memory, producer, restart, shares, slow_disk, store
from tests.bench.load import Failed
from tests.servers.processes import StartFailed, Unavailable

__all__ = ["FIGURES", "SPOOLED", "measure"]

# How many messages lie in the spool when the gateway starts.
SPOOLED = (0, 10_000, 100_000, 1_000_000)

_LARGE = 5_000_000_000
_OBJECTS = 3_000
_RECORDS = 20_000


def measure(
    name: str, missing: MutableMapping[str, str], failed: MutableMapping[str, str], say: Callable[[str], None]
) -> dict[str, float]:
    """The figures of one group, by name. What cannot be had here, or failed, is said so and left out."""
    say(f"{name} …")
    try:
        return dict(FIGURES[name]())
    except (Unavailable, StartFailed, Failed, TimeoutError, RuntimeError, AssertionError, OSError) as reason:
        say(f"{name}: {reason}")
        reasons = missing if isinstance(reason, Unavailable) else failed
        reasons[name] = (str(reason) or repr(reason)).splitlines()[0]
        return {}


def _idle() -> Mapping[str, float]:
    found = idle.measure()
    return {
        "idle sessions": found.sessions,
        "idle bytes before": found.bytes_before,
        "idle bytes with": found.bytes_with,
    }


def _large() -> Mapping[str, float]:
    found: dict[str, float] = {}
    for passage in memory.measure(_LARGE):
        found[f"large {passage.command} growth bytes"] = passage.growth_bytes
        found[f"large {passage.command} octets per second"] = passage.size / passage.seconds
    return found


def _restart() -> Mapping[str, float]:
    found: dict[str, float] = {}
    for messages in SPOOLED:
        with tempfile.TemporaryDirectory(prefix="mailsluice-bench-") as folder:
            # The check of the largest is what takes memory, if anything does; it costs the run some time.
            start = restart.measure(messages, Path(folder), until_checked=messages == SPOOLED[-1])
        found[f"restart {messages} first 250 seconds"] = start.accepting_seconds
        found[f"restart {messages} spool bytes"] = start.spool_bytes
        found[f"restart {messages} growth bytes"] = start.growth_bytes
    return found


def _instructions() -> Mapping[str, float]:
    counted = {command: instructions.count(command) for command in instructions.PATHS}
    if None in counted.values():
        raise Unavailable("valgrind is not installed, so instructions were not counted")
    return {f"instructions {command}": number for command, number in counted.items() if number is not None}


def _store() -> Mapping[str, float]:
    return {"store puts per second": store.put_rate(_OBJECTS)}


def _slow_disk() -> Mapping[str, float]:
    with tempfile.TemporaryDirectory(prefix="mailsluice-bench-") as folder:
        return {"slow disk noop p99 seconds": slow_disk.measure(Path(folder), rounds=2).p99}


def _producer() -> Mapping[str, float]:
    rate, cpu_seconds = producer.record_rate(_RECORDS)
    return {"records per second": rate, "record cpu seconds": cpu_seconds}


def _engine() -> Mapping[str, float]:
    return {f"engine {command} seconds": hot_path.cpu_seconds(command) for command in instructions.PATHS}


def _shares() -> Mapping[str, float]:
    return {
        f"share {column}: {part}": seconds
        for column, (contender, load) in shares.PROFILED.items()
        for part, seconds in shares.measure(contender, load).items()
    }


FIGURES: Mapping[str, Callable[[], Mapping[str, float]]] = {
    "idle": _idle,
    "instructions": _instructions,
    "engine": _engine,
    "producer": _producer,
    "shares": _shares,
    "store": _store,
    "slow-disk": _slow_disk,
    "large": _large,
    "restart": _restart,
}
