"""`mailsluice serve` in a process of its own, as an operator runs it."""

import fcntl
import os
import re
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

SITE = Path(__file__).parents[1] / "site"
# Of a machine that has much else to do.
_SECONDS = 120
_ADDRESS = re.compile(r"(?:SMTP|LMTP) on (?P<address>\S+) \((?P<name>.+)\)\n")
_MAIN = "from gateway.cli import main; main()"


def environment() -> dict[str, str]:
    """With the third-party connectors of `tests/site`."""
    return {**os.environ, "PYTHONPATH": str(SITE), "COLUMNS": "200"}


def run(*arguments: str | Path, folder: Path, prelude: str = "", text: str = "") -> subprocess.CompletedProcess[str]:
    """Run a command to its end. `prelude` is Python that runs before it."""
    return subprocess.run(
        [sys.executable, "-c", f"{prelude}\n{_MAIN}", *arguments],
        cwd=folder,
        env=environment(),
        input=text,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )


class GatewayProcess:
    """A running gateway: ready on entry, gone on exit. `addresses` has each listener's by its name."""

    def __init__(
        self,
        *arguments: str | Path,
        folder: Path,
        prelude: str = "",
        seconds: float = _SECONDS,
        quiet: bool = False,
    ) -> None:
        """`seconds` is the longest it may live; with `quiet` what it says once it is ready is not kept."""
        self._process = subprocess.Popen(
            [sys.executable, "-c", f"{prelude}\n{_MAIN}", "serve", *arguments],
            cwd=folder,
            env=environment(),
            stderr=subprocess.PIPE,
            text=True,
            # With its workers, where it has any: they all can be ended at once.
            start_new_session=True,
        )
        # Whatever goes wrong, no read of its output lasts for ever.
        self._watchdog = threading.Timer(seconds, self._kill)
        self._watchdog.daemon = True
        self._watchdog.start()
        self._quiet = quiet
        self._reader: threading.Thread | None = None
        self.output: list[str] = []
        self.addresses: dict[str, str] = {}

    def __enter__(self) -> Self:
        for line in self.read_until("mailsluice ready"):
            if match := _ADDRESS.fullmatch(line):
                self.addresses[match["name"]] = match["address"]
        if self._quiet:
            self._reader = threading.Thread(target=self._read_on, daemon=True)
            self._reader.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._kill()
        if self._reader is not None:
            self._reader.join(_SECONDS)
        self._process.communicate()
        self._watchdog.cancel()

    def _kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _read_on(self) -> None:
        assert self._process.stderr is not None
        for _ in self._process.stderr:
            pass

    @property
    def pid(self) -> int:
        return self._process.pid

    def address(self, name: str) -> tuple[str, int]:
        host, _, port = self.addresses[name].rpartition(":")
        return host, int(port)

    def read_until(self, text: str) -> list[str]:
        """The lines on standard error up to the one that has `text`."""
        assert self._process.stderr is not None
        lines = []
        for line in self._process.stderr:
            lines.append(line)
            self.output.append(line)
            if text in line:
                return lines
        raise AssertionError(f"the gateway ended without a line that has {text!r}:\n{''.join(self.output)}")

    def read_until_all(self, *texts: str) -> None:
        """Read lines until each of the texts has come, in any order: of two processes either may be first."""
        awaited = set(texts)
        while awaited:
            line = self.read_until("")[-1]
            awaited -= {text for text in awaited if text in line}

    def narrow_output(self) -> None:
        """Have what it says go through one page of memory: longer writes go in pieces, and wait in between."""
        assert self._process.stderr is not None
        fcntl.fcntl(self._process.stderr, fcntl.F_SETPIPE_SZ, 4096)

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wait(self) -> int:
        """The exit status, once the process has ended by itself."""
        assert self._process.stderr is not None
        self.output += self._process.stderr.readlines()
        return self._process.wait(timeout=_SECONDS)
