"""How many machine instructions the engine needs for a mail: a figure that a busy machine does not move.

    python -m tests.bench.instructions            prints it beside what is stored
    python -m tests.bench.instructions --store    stores it, in `instructions.json`

Callgrind counts them. What the process needs without a mail is taken away, so that the interpreter's start does not
count. The figure depends on the processor's architecture and the interpreter's build, by which it is stored: one that
was optimised by a profile, as distributions build it, needs a tenth fewer than one that was compiled without.
"""

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
from functools import cache
from pathlib import Path

__all__ = ["ACCEPTED_GROWTH", "PATHS", "count", "stored"]

ACCEPTED_GROWTH = 1.10
PATHS = {"DATA": "a mail of 1 KB by DATA", "BDAT": "a mail of 1 KB by BDAT, with two containers by BMTD"}

_STORED = Path(__file__).with_name("instructions.json")
_ROOT = Path(__file__).parents[2]
_MAILS = 200
_SECONDS = 300.0
_COLLECTED = re.compile(r"Collected\s*:\s*(\d+)")


def count(command: str) -> int | None:
    """Instructions for one mail; None where there is no valgrind."""
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        return None
    return round((_collected(valgrind, command, _MAILS) - _without_mail(valgrind)) / _MAILS)


def stored(command: str) -> int | None:
    """What is stored for this interpreter and architecture, if anything is."""
    return _all_stored().get(_platform(), {}).get(command)


def _all_stored() -> dict[str, dict[str, int]]:
    return json.loads(_STORED.read_text()) if _STORED.exists() else {}


def _platform() -> str:
    # Nothing says whether a profile was used; builders differ by what they were told, and by the compiler's flags.
    told = re.findall(r"--enable-optimizations", sysconfig.get_config_var("CONFIG_ARGS") or "")
    flags = re.findall(r"-O\w+", sysconfig.get_config_var("PY_CFLAGS") or "")
    build = " ".join([*flags[-1:], *told])
    return f"{platform.python_implementation()} {platform.python_version()} ({build}) on {platform.machine()}"


@cache
def _without_mail(valgrind: str) -> int:
    return _collected(valgrind, "DATA", 0)


def _collected(valgrind: str, command: str, mails: int) -> int:
    words = [valgrind, "--tool=callgrind", "--callgrind-out-file=/dev/null"]
    done = subprocess.run(
        [*words, sys.executable, "-m", "tests.bench.hot_path", command, str(mails)],
        cwd=_ROOT,
        # Sets and dicts are in the same order each time.
        env={**os.environ, "PYTHONHASHSEED": "0"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    found = _COLLECTED.search(done.stderr)
    if done.returncode or found is None:
        raise RuntimeError(f"callgrind did not count:\n{done.stderr}")
    return int(found[1])


def main() -> None:
    """Print or store them."""
    counted = {command: number for command in PATHS if (number := count(command)) is not None}
    if not counted:
        sys.exit("valgrind is not installed")
    for command, number in counted.items():
        print(f"{PATHS[command]}: {number:,} instructions, stored {stored(command) or 0:,}")
    if sys.argv[1:] == ["--store"]:
        text = json.dumps({**_all_stored(), _platform(): counted}, indent=2, sort_keys=True)
        _STORED.write_text(text + "\n")


if __name__ == "__main__":
    main()
