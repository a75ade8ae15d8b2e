"""Processes that are there at once: forked from one that has the gateway imported and the shim loaded.

A crash bench starts thousands of them. Importing takes half a second, a fork some milliseconds. The first to be asked
for starts the process they are forked from; it ends with this one.
"""

import ctypes
import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from typing import Any, TextIO

from gateway.cli import app as command
from tests.end_to_end.gateway import Gateway
from tests.torture.shim import Faults, library

_IMPORTED = [
    "connectors.directory.connector",
    "connectors.http.connector",
    "connectors.kafka.connector",
    "connectors.s3.connector",
    "gateway.app",
    "tests.torture.sinks",
    "tests.torture.spool_life",
    "uvloop",
    __name__,
]
_context = multiprocessing.get_context("forkserver")
# Whoever starts a process asks all others for their status, and one that two threads ask at once loses it. The
# environment is that of all threads, too.
_one_at_a_time = threading.Lock()


def run(life: Callable[..., None], *arguments: Any, faults: Faults, seconds: float = 60.0) -> int:
    """Run a function of some module in a process of its own, watched by `faults`: its exit status, -9 after SIGKILL."""
    process = _start(life, *arguments, faults=faults)
    if (status := _status(process, seconds)) is None:
        process.kill()
        _status(process, None)
        raise AssertionError(f"{life.__name__} did not end within {seconds:g} s")
    return status


class ForkedGateway(Gateway):
    """`mailsluice serve` in a forked process, watched by `faults`. It is in all else what a Gateway is."""

    def __init__(self, *arguments: Any, faults: Faults) -> None:
        super().__init__(*arguments)
        self._faults = faults

    def kill(self) -> None:
        # It may have ended by itself, and its parent, who is not this process, has seen to it then.
        self._process.send_signal(signal.SIGKILL)
        self.wait()

    def _spawn(self) -> "subprocess.Popen[str]":
        ours, theirs = _context.Pipe(duplex=False)
        process = _start(_serve, str(self.folder), str(self._configuration), theirs, faults=self._faults)
        theirs.close()
        return _Forked(process, os.fdopen(os.dup(ours.fileno())))  # type: ignore[return-value]  # as much as is used


class _Forked:
    """What Gateway asks of a Popen."""

    def __init__(self, process: ForkServerProcess, stdout: TextIO) -> None:
        self._process = process
        self.stdout = stdout
        self.pid = process.pid

    def poll(self) -> int | None:
        return _status(self._process, 0)

    def wait(self, timeout: float | None = None) -> int:
        if (status := _status(self._process, timeout)) is None:
            raise subprocess.TimeoutExpired("mailsluice serve", timeout or 0)
        return status

    def send_signal(self, number: signal.Signals) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self._process.pid, number)


def _start(life: Callable[..., None], *arguments: Any, faults: Faults) -> ForkServerProcess:
    process = _context.Process(target=_live, args=(faults.settings(), life, arguments), daemon=True)
    with _one_at_a_time:
        _be_ready()
        process.start()
    return process


def _status(process: ForkServerProcess, seconds: float | None) -> int | None:
    """The exit status, once there is one; None where it has not ended within so many seconds."""
    wait([process.sentinel], seconds)
    with _one_at_a_time:
        return process.exitcode


def _be_ready() -> None:
    _context.set_forkserver_preload(_IMPORTED)
    # A new process has nothing of ours but the environment.
    wanted = {"LD_PRELOAD": str(library()), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        forkserver.ensure_running()
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _live(settings: dict[str, str], life: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    # All that the first process imported is the collector's to look at otherwise, and looking at it copies its pages.
    gc.freeze()
    os.environ.update(settings)
    ctypes.CDLL(None).fault_begin()
    life(*arguments)


def _serve(folder: str, configuration: str, output: Connection) -> None:
    os.setsid()
    os.chdir(folder)
    for descriptor in (1, 2):
        os.dup2(output.fileno(), descriptor)
    output.close()
    command(["serve", "--config", configuration])
