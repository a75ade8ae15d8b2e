"""The machine that measures, in words, and what it allows."""

import os
import platform
import resource
import subprocess
import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import psutil

__all__ = ["allow_descriptors", "commit", "describe", "today"]

_ROOT = Path(__file__).parents[2]
# Ten thousand sessions, at two descriptors each, and the quarter that the gateway keeps for other things.
_DESCRIPTORS = 65_536


def describe() -> dict[str, str]:
    """What a reader needs to judge the figures."""
    return {
        "Processor": f"{_processor()}, {os.cpu_count()} cores",
        "Memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "System": f"{_system()}, Linux {platform.release()}",
        "Disk": f"{_file_system()}, of the temporary directory",
        "Python": f"{platform.python_implementation()} {platform.python_version()}, {_interpreter()}",
    }


def allow_descriptors() -> None:
    """Have as many as the idle connections need, where we may; otherwise those that there are."""
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (_DESCRIPTORS, _DESCRIPTORS))


def today() -> str:
    """The date, in UTC."""
    return datetime.now(UTC).date().isoformat()


def commit() -> str:
    """What is measured: empty where this is no checkout."""
    words = ["git", "-C", str(_ROOT), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def _interpreter() -> str:
    """Which one: some are built without the optimisations that others have."""
    return str(Path(sys.executable).resolve())


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()


def _system() -> str:
    release = platform.freedesktop_os_release()
    return release.get("PRETTY_NAME", "an unnamed system")


def _file_system() -> str:
    words = ["findmnt", "--noheadings", "--output", "FSTYPE", "--target", "/tmp"]
    try:
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "a file system that findmnt does not know"
