"""A contender: one server that is measured, whatever it is made of."""

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from tests.bench.accounting import wait_until_idle
from tests.servers.ports import accepts
from tests.servers.processes import ServerProcess, make_directory

__all__ = ["Contender", "Program", "Server"]

_START_SECONDS = 60.0
_QUEUE_SECONDS = 300.0
_LOOK_SECONDS = 0.1


class Server(AbstractContextManager["Server"], Protocol):
    """What runs: all its processes are `pid` and those below it."""

    @property
    def pid(self) -> int: ...


class Program:
    """A server program in a directory of its own, which listens at `port` when it is ready."""

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        port: int,
        *,
        directory: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.directory = directory or make_directory("contender")
        self.log = self.directory / "log"
        self._port = port
        self._process = ServerProcess(name, command, log=self.log, environment=environment)

    def __enter__(self) -> Self:
        self._process.start(self.is_ready, _START_SECONDS)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    @property
    def pid(self) -> int:
        return self._process.pid

    def is_ready(self) -> bool:
        return accepts(self._port)


class Contender:
    """A server with its ports. `is_emptied` says whether its queue is, where it has one; `lags` are of our own only.

    `lags` gets two moments (`time.monotonic`) and gives how late, in seconds, the event loop was in between.
    `log` is what our own has said.
    """

    def __init__(
        self,
        server: Server,
        *,
        smtp: int,
        version: str,
        lmtp: int = 0,
        is_emptied: Callable[[], bool] = lambda: True,
        lags: Callable[[float, float], Sequence[float]] = lambda _began, _ended: (),
        log: Callable[[], str] = str,
    ) -> None:
        self.version = version
        self.ports = {"SMTP": smtp, "LMTP": lmtp}
        self.lags = lags
        self.log = log
        self._server = server
        self._is_emptied = is_emptied

    def __enter__(self) -> Self:
        self._server.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.__exit__(kind, error, traceback)

    @property
    def pids(self) -> tuple[int, ...]:
        """Its process, below which all others are."""
        return (self._server.pid,)

    def settle(self) -> float:
        """Return once it has nothing left to do, so that the next contender's turn can begin.

        Returned is after how many seconds its queue was empty, about. Raises TimeoutError.
        """
        began = time.monotonic()
        while not self._is_emptied():
            if time.monotonic() > began + _QUEUE_SECONDS:
                raise TimeoutError(f"a queue was not empty within {_QUEUE_SECONDS:g} s")
            time.sleep(_LOOK_SECONDS)
        emptied = time.monotonic()
        wait_until_idle(self.pids)
        return emptied - began
