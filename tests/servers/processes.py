"""Server processes: start one, wait until it answers, stop, kill, pause and resume it.

Every server is a process group of its own, so that a signal reaches its children too, and all it says goes into one
log file, whose end is shown when it does not start. Nothing here sleeps in the hope that a server will be ready by
then: readiness is a question asked until a deadline. When the test run itself dies without a chance to clean up,
`reaper.py` ends what is left.
"""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from tests.servers.reaper import Reaper

_POLL_SECONDS = 0.02
_LOG_LINES_SHOWN = 40


class Unavailable(Exception):
    """A server or a program cannot be had on this machine; the text says why, and what would change that."""


class StartFailed(Exception):
    """A server that is installed did not start; the text ends with the end of its log."""


class ServerProcess:
    """One server's process group. It may be started again after `stop()` or `kill()`, with the same command."""

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        log: Path,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.log = log
        self._command = [str(word) for word in command]
        self._environment = {**os.environ, **(environment or {})}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        """Whether the process is there, paused or not."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The number of the process, which is that of its group too; it must have been started."""
        if self._process is None:
            raise RuntimeError(f"{self.name} is not running")
        return self._process.pid

    def start(self, answers: Callable[[], bool], seconds: float) -> None:
        """Start the process and return once `answers()` is true; it is asked again and again until the deadline."""
        if self.running:
            raise RuntimeError(f"{self.name} is running already")
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment,
                start_new_session=True,
            )
        Reaper.of_this_process().watch(self._process.pid)
        deadline = time.monotonic() + seconds
        while not answers():
            status = self._process.poll()
            if status is not None:
                self.kill()
                raise StartFailed(f"{self.name} ended with status {status}\n{self._end_of_log()}")
            if time.monotonic() > deadline:
                self.kill()
                raise StartFailed(f"{self.name} gave no answer for {seconds:g} s\n{self._end_of_log()}")
            time.sleep(_POLL_SECONDS)

    def stop(self, seconds: float = 30) -> None:
        """End the process in order (SIGTERM) and wait for it; kill it if it has not ended after `seconds`."""
        if self._process is None:
            return
        self._signal(signal.SIGCONT)  # a paused process cannot act on SIGTERM
        self._signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        self.kill()

    def kill(self) -> None:
        """End the whole group at once (SIGKILL), as a crash would, and wait until it is gone."""
        if self._process is None:
            return
        self._signal(signal.SIGKILL)
        self._process.wait()
        # A child that is still being torn down holds the listening socket, which the next start would find in use.
        while _is_alive(self._process.pid):
            time.sleep(_POLL_SECONDS)
        Reaper.of_this_process().forget(self._process.pid)
        self._process = None

    def pause(self) -> None:
        """Freeze the group (SIGSTOP), and return once it stands: the kernel still accepts connections for it."""
        process = self._signal(signal.SIGSTOP)
        # The stop is reported when the last thread stands; until then one may still answer. Left to be read again
        # (WNOWAIT), so that the end of the process remains for Popen.
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def resume(self) -> None:
        """Let a paused group go on (SIGCONT)."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError(f"{self.name} is not running")
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)
        return self._process

    def _end_of_log(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()
        return "\n".join(["The end of its log:", *lines[-_LOG_LINES_SHOWN:]])


def make_directory(server: str) -> Path:
    """Make a temporary directory for a server's files; the server removes it, or the reaper in its place."""
    directory = Path(tempfile.mkdtemp(prefix=f"mailsluice-{server}-"))
    Reaper.of_this_process().remove(directory)
    return directory


def _is_alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    # What is left may be dead and only waiting for init to notice.
    return any(_is_alive_in(process, group) for process in psutil.process_iter())


def _is_alive_in(process: psutil.Process, group: int) -> bool:
    try:
        return os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE
    except (ProcessLookupError, psutil.NoSuchProcess):
        return False


def find_program(name: str) -> Path:
    """Return where a program is, looking in `/usr/sbin` too; raise `Unavailable` if it is not here."""
    found = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin"]))
    if found is None:
        raise Unavailable(f"{name} is not installed: run `python -m tests.servers.install` as root")
    return Path(found)


def run_tool(command: Sequence[str | Path], *, seconds: float, environment: Mapping[str, str] | None = None) -> str:
    """Run a short program to its end and return what it printed; raise `StartFailed` with that if it fails."""
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as late:
        raise StartFailed(f"{words[0]} took longer than {seconds:g} s") from late
    output = done.stdout.decode(errors="replace")
    if done.returncode:
        last = "\n".join(output.splitlines()[-_LOG_LINES_SHOWN:])
        raise StartFailed(f"{' '.join(words)} ended with status {done.returncode}\n{last}")
    return output
