"""The process code itself: a failed start is explained, and nothing outlives the test run."""

import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.servers.cache import REPOSITORY
from tests.servers.ports import free_port
from tests.servers.processes import ServerProcess, StartFailed


def test_a_server_that_ends_at_once_shows_its_log(tmp_path: Path) -> None:
    """The exception has the exit status and the last words."""
    server = ServerProcess("the server", ["sh", "-c", "echo no such port; exit 3"], log=tmp_path / "log")
    with pytest.raises(StartFailed, match=r"(?s)the server ended with status 3.*no such port"):
        server.start(lambda: False, 10)
    assert not server.running


def test_a_server_that_never_answers_is_killed(tmp_path: Path) -> None:
    """After the deadline nothing of it is left."""
    server = ServerProcess("the server", ["sleep", "600"], log=tmp_path / "log")
    with pytest.raises(StartFailed, match=r"gave no answer for 0\.1 s"):
        server.start(lambda: False, 0.1)
    assert not server.running


def test_a_paused_server_is_stopped_in_order(tmp_path: Path) -> None:
    """SIGTERM reaches a paused process too, and it may run again afterwards."""
    log = tmp_path / "log"
    server = ServerProcess("the server", ["sh", "-c", "trap 'echo bye; exit' TERM; echo up; sleep 600 & wait"], log=log)
    server.start(lambda: "up" in log.read_text(), 10)
    server.pause()
    server.stop()
    assert "up\nbye\n" == log.read_text()
    server.start(lambda: log.read_text().count("up") == 2, 10)
    server.kill()
    assert not server.running


def test_a_killed_test_run_leaves_no_server(tmp_path: Path) -> None:
    """The reaper ends the servers, a paused one too, of a run that got SIGKILL, and removes their files."""
    run = (
        "import os, pathlib, signal, sys\n"
        "from tests.servers.processes import ServerProcess, make_directory\n"
        "print(make_directory('reaped'))\n"
        "sys.stdout.flush()\n"
        "command = ['sh', '-c', 'echo $$; exec sleep 600']\n"
        "server = ServerProcess('the server', command, log=pathlib.Path(sys.argv[1]))\n"
        "server.start(lambda: server.log.stat().st_size > 0, 10)\n"
        "server.pause()\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", run, tmp_path / "log"], cwd=REPOSITORY, check=False, stdout=subprocess.PIPE, text=True
    )
    number, directory = int((tmp_path / "log").read_text()), Path(done.stdout.strip())
    deadline = time.monotonic() + 10
    while (psutil.pid_exists(number) or directory.exists()) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not psutil.pid_exists(number)
    assert not directory.exists()


def test_no_port_is_given_twice() -> None:
    """Servers that are set up side by side get different ports, below those of outgoing connections."""
    ports = [free_port() for _ in range(50)]
    assert 50 == len(set(ports))
    assert max(ports) < 49_152
