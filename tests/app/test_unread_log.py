"""Nobody reads the log, or nobody can: mail is taken all the same, and the end comes in good order."""

import os
import signal
import smtplib
import socket
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest

from tests.app.gateway_process import environment
from tests.servers.ports import free_port

_SECONDS = 30
_MAILS = 60
# Twenty addresses of this length stand in the log line of a mail: sixty lines are far more than a pipe holds.
_LOCAL_PART = "x" * 60


@contextmanager
def gateway(folder, *, stderr, command=(), workers=1):
    """A gateway's process, and the port at which it takes mail: ready, as far as can be told without its log."""
    port = free_port()
    (folder / "mailsluice.toml").write_text(
        f'[gateway]\nworkers = {workers}\n[[listener]]\nname = "mx"\nprotocol = "smtp"\nbind = "127.0.0.1:{port}"\n'
        '[[connector]]\nname = "archive"\ntype = "directory"\npath = "mail"\n'
        '[[route]]\nrecipients = ["*"]\nconnectors = ["archive"]\n'
    )
    serve = [sys.executable, "-c", "from gateway.cli import main; main()", "serve", "--config", "mailsluice.toml"]
    process = subprocess.Popen([*command, *serve], cwd=folder, env=environment(), stderr=stderr)
    try:
        deadline = time.monotonic() + _SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except ConnectionRefusedError:
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.02)  # nobody else tells that it listens
        yield process, port
    finally:
        process.kill()
        process.wait()


def send(port, *, mails):
    """Send them in one session, and return the longest time that a NOOP took in another one."""
    longest = 0.0
    recipients = [f"{_LOCAL_PART}{number}@example.org" for number in range(20)]
    with smtplib.SMTP("127.0.0.1", port, timeout=_SECONDS) as sender, smtplib.SMTP("127.0.0.1", port) as other:
        other.timeout = _SECONDS
        for _ in range(mails):
            assert sender.sendmail("a@example.net", recipients, b"\r\n") == {}
            started = time.monotonic()
            assert other.noop()[0] == 250
            longest = max(longest, time.monotonic() - started)
    return longest


def assert_it_took_them_and_ends(process, folder, *, mails):
    assert len(list((folder / "mail").rglob("*.json"))) == mails
    process.send_signal(signal.SIGTERM)
    started = time.monotonic()
    assert process.wait(_SECONDS) == 0
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("workers", [1, 2])
def test_a_full_pipe_holds_up_no_mail_and_no_session(tmp_path, workers):
    reader, writer = os.pipe()
    with gateway(tmp_path, stderr=writer, workers=workers) as (process, port):
        assert send(port, mails=_MAILS) < 5
        assert_it_took_them_and_ends(process, tmp_path, mails=_MAILS)
    os.close(reader)
    os.close(writer)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("stderr", ["2>&-", "2>/dev/full", "0<&- 1>&- 2>&-"])
def test_a_log_that_cannot_be_written_holds_up_no_mail(tmp_path, stderr, workers):
    shell = ("sh", "-c", f'exec "$@" {stderr}', "sh")
    with gateway(tmp_path, stderr=None, command=shell, workers=workers) as (process, port):
        send(port, mails=3)
        assert_it_took_them_and_ends(process, tmp_path, mails=3)


def test_a_reader_that_has_gone_holds_up_no_mail(tmp_path):
    reader, writer = os.pipe()
    with gateway(tmp_path, stderr=writer) as (process, port):
        os.close(writer)
        os.close(reader)
        send(port, mails=3)
        assert_it_took_them_and_ends(process, tmp_path, mails=3)
