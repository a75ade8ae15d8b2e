"""Faults of the file system, at the call where a test wants them: the Python side of `shim.c`.

    with Faults(folder) as faults:
        process = Popen(command, env={**os.environ, **faults.environment()})
        faults.arm(Action.IO_ERROR, at=3)     # the third call from now on that changes a file below `folder`
        ...
        assert faults.faults == 1

The shim is compiled when it is first needed. What counts as a call, and what an action does to it, stands in `shim.c`.
"""

import hashlib
import mmap
import os
import shutil
import struct
import subprocess
import tempfile
from enum import IntEnum
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.servers.cache import CACHE, exclusive

_SOURCE = Path(__file__).with_name("shim.c")
_CALLS, _AT, _FAULTS, _CLOCK_OFFSET = 0, 8, 16, 32
_CONTROL_OCTETS = 40


class Action(IntEnum):
    """What happens at the call: nothing, SIGKILL before it or half-way through it, an error, or a lie about a sync.

    SLOW lets every sync take two seconds longer for as long as it is armed. FAIL_SYNC, armed as sticky, is an error of
    the first sync from then on, and of nothing else.
    """

    PASS = 0
    KILL = 1
    TORN = 2
    IO_ERROR = 3
    NO_SPACE = 4
    LIE = 5
    SLOW = 6
    FAIL_SYNC = 7


class Faults:
    """What is to go wrong with the files below `folder`, in whichever processes have `environment()`.

    With `records`, all calls that succeed are recorded in the file `log` (`tests.torture.operations` reads it).
    """

    def __init__(self, folder: Path, *, records: bool = False) -> None:
        self._own = Path(tempfile.mkdtemp(prefix="mailsluice-faults-"))
        self._folder = folder.resolve()
        self._control_path = self._own / "control"
        self._control_path.write_bytes(bytes(_CONTROL_OCTETS))
        with self._control_path.open("r+b") as file:
            self._control = mmap.mmap(file.fileno(), _CONTROL_OCTETS)
        self.log = self._own / "log"
        self._records = records

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._control.close()
        shutil.rmtree(self._own)

    def environment(self) -> dict[str, str]:
        """What a process has in its environment to be watched from its start."""
        return {"LD_PRELOAD": str(library()), **self.settings()}

    def settings(self) -> dict[str, str]:
        """What a process that has the shim loaded already has in its environment at `fault_begin`."""
        log = {"FAULT_LOG": str(self.log)} if self._records else {}
        return {"FAULT_UNDER": str(self._folder), "FAULT_CONTROL": str(self._control_path), **log}

    def arm(self, action: Action, *, at: int, sticky: bool = False) -> None:
        """Let `action` happen at the call that is `at` calls from now, and with `sticky` at all after it too."""
        self.disarm()
        struct.pack_into("<QII", self._control, _FAULTS, 0, action, sticky)
        # Last, for this is what the shim looks at first.
        struct.pack_into("<Q", self._control, _AT, self.calls + at)

    def disarm(self) -> None:
        """Let every call pass."""
        struct.pack_into("<Q", self._control, _AT, 0)

    def set_clock(self, offset_seconds: int) -> None:
        """Let the wall clock be so far off from now on, for whoever asks it."""
        struct.pack_into("<q", self._control, _CLOCK_OFFSET, offset_seconds)

    @property
    def calls(self) -> int:
        """How many calls there were so far."""
        return struct.unpack_from("<Q", self._control, _CALLS)[0]

    @property
    def faults(self) -> int:
        """How often it was the action's turn since it was armed, also where it let a call pass or killed."""
        return struct.unpack_from("<Q", self._control, _FAULTS)[0]


def relent() -> None:
    """In a watched process: let every call pass from now on."""
    with Path(os.environ["FAULT_CONTROL"]).open("r+b", buffering=0) as control:
        control.seek(_AT)
        control.write(bytes(8))


def library() -> Path:
    """The compiled shim; compiled at the first call. Raises RuntimeError where there is no compiler."""
    digest = hashlib.sha256(_SOURCE.read_bytes()).hexdigest()[:16]
    compiled = CACHE / f"shim-{digest}.so"
    if compiled.exists():
        return compiled
    compiler = shutil.which("cc")
    if compiler is None:
        raise RuntimeError("the torture bench compiles a small C library: install a C compiler (the command cc)")
    with exclusive():
        fresh = compiled.with_suffix(".new")
        command = [
            compiler,
            "-O1",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-shared",
            "-fPIC",
            "-pthread",
            "-o",
            fresh,
            _SOURCE,
            "-ldl",
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        if done.returncode:
            raise RuntimeError(f"the torture bench's C library does not compile:\n{done.stderr}")
        fresh.rename(compiled)
    return compiled
