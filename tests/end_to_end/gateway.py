"""`mailsluice serve` as an operator starts it: the installed command, a configuration file, a directory of its own.

Nothing of the gateway is imported here. A thread reads what the process says, so that a test can wait for a line
instead of for some time, and so that the process never waits for the test.
"""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.servers.reaper import Reaper

MAILSLUICE = Path(sys.executable).with_name("mailsluice")

_START_SECONDS = 60.0
_STOP_SECONDS = 60.0
_LINE_SECONDS = 30.0
_ADDRESS = re.compile(r"(?:SMTP|LMTP) on (?P<address>\S+) \((?P<name>[^)]+)\)\n")

# Of a mail, in every final reply (RFC 5321 gives its text no form).
ID = re.compile(r"\b[0-7][0-9A-HJKMNP-TV-Z]{25}\b")


class Gateway:
    """A running gateway: ready on entry, gone on exit.

    `folder` is its working directory, and holds the configuration file and what relative paths name. `addresses` has
    each listener's address by its name, in the form of the configuration. `environment` is added to the test's own.
    """

    def __init__(self, folder: Path, configuration: str, *, environment: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self._environment = {**os.environ, **(environment or {})}
        self.addresses: dict[str, str] = {}
        self._configuration = folder / "mailsluice.toml"
        self._configuration.write_text(configuration)
        self._lines: list[str] = []
        self._spoke = threading.Condition()
        self._ended = False

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.running:
            self.kill()

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    def start(self) -> None:
        """Start it and return once it is ready; after `stop` or `kill`, with the same files. Forgets its old log."""
        self.launch()
        self.wait_until_ready()

    def launch(self) -> None:
        """Start it and do not wait."""
        self._lines, self._ended = [], False
        self._process = self._spawn()
        Reaper.of_this_process().watch(self._process.pid)
        self._reader = threading.Thread(target=self._read, name="gateway's output")
        self._reader.start()

    def wait_until_ready(self) -> None:
        """Return once it is ready; raises AssertionError, with its log, where it ends instead."""
        try:
            self.wait_for("mailsluice ready\n", seconds=_START_SECONDS)
        except BaseException:
            self.kill()
            raise
        found = [_ADDRESS.fullmatch(line) for line in self._lines]
        self.addresses = {match["name"]: match["address"] for match in found if match}

    def stop(self) -> int:
        """Ask it to end (SIGTERM): its exit status."""
        self.terminate()
        return self.wait()

    def terminate(self) -> None:
        """Ask it to end (SIGTERM), and do not wait."""
        self._process.send_signal(signal.SIGTERM)

    def wait(self) -> int:
        """The exit status, once it has ended by itself."""
        try:
            status = self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the gateway did not end:\n{self.log}") from None
        self._forget()
        return status

    def kill(self) -> None:
        """End it as a crash would (SIGKILL)."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._forget()

    def pause(self) -> None:
        """Freeze it (SIGSTOP), and return once it stands: the kernel still accepts connections for it."""
        self._process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def resume(self) -> None:
        """Let it go on after `pause`."""
        self._process.send_signal(signal.SIGCONT)

    def address(self, listener: str) -> tuple[str, int]:
        """Host and port of a listener."""
        host, _, port = self.addresses[listener].rpartition(":")
        return host, int(port)

    @property
    def log(self) -> str:
        """All it has said on standard output and standard error."""
        with self._spoke:
            return "".join(self._lines)

    def wait_for(self, text: str, *, count: int = 1, seconds: float = _LINE_SECONDS) -> None:
        """Return once so many lines have `text` in them."""
        with self._spoke:
            self._spoke.wait_for(lambda: self._ended or self._count(text) >= count, seconds)
            if self._count(text) < count:
                raise AssertionError(f"the gateway did not say {text!r} {count} times:\n{''.join(self._lines)}")

    def record(self, reply: str) -> dict[str, Any]:
        """The log record of the mail that a final reply is about; it may come a little after the reply."""
        (id_,) = ID.findall(reply)
        self.wait_for(f'"id": "{id_}"')
        (record,) = (record for record in self.records() if record["id"] == id_)
        return record

    def records(self, event: str = "mail") -> list[dict[str, Any]]:
        """The log records of one event so far."""
        records = [json.loads(line) for line in self.log.splitlines() if line.startswith("{")]
        return [record for record in records if record["event"] == event]

    def _spawn(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [MAILSLUICE, "serve", "--config", self._configuration],
            cwd=self.folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def _count(self, text: str) -> int:
        return sum(text in line for line in self._lines)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._spoke:
                self._lines.append(line)
                self._spoke.notify_all()
        with self._spoke:
            self._ended = True
            self._spoke.notify_all()

    def _forget(self) -> None:
        Reaper.of_this_process().forget(self._process.pid)
        self._reader.join()
        assert self._process.stdout is not None
        self._process.stdout.close()
