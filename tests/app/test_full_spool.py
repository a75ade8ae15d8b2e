"""A spool on a file system that fills up: mail is refused before that, and what was accepted is delivered."""

import os
import shutil
import smtplib
import subprocess
import time

import pytest

from tests.app.gateway_process import GatewayProcess

CONFIGURATION = """
[[listener]]
name = "mx"
protocol = "smtp"
bind = "127.0.0.1:0"
max_message_bytes = 1_000_000
[[connector]]
name = "archive"
type = "directory"
path = "mail"
[[route]]
recipients = ["*"]
connectors = ["archive"]
accept = "spooled"
"""
MOUNT = """
import ctypes, os
os.unshare = ctypes.CDLL(None, use_errno=True).unshare
assert os.unshare(0x00020000) == 0  # CLONE_NEWNS
import subprocess
subprocess.run(["mount", "--make-rprivate", "/"], check=True)
os.mkdir("spool")
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m,nr_inodes=400", "tmpfs", "spool"], check=True)
"""
FULL = (452, b"4.3.1 not enough storage, try again later")


def can_mount():
    if os.geteuid() or shutil.which("unshare") is None:
        return False
    command = ["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


@pytest.fixture
def process(tmp_path):
    if not can_mount():
        pytest.skip("only root mounts file systems, and not everywhere")
    (tmp_path / "mailsluice.toml").write_text(CONFIGURATION)
    with GatewayProcess("--config", "mailsluice.toml", folder=tmp_path, prelude=MOUNT, quiet=True) as process:
        yield process


@pytest.fixture
def spool(process, tmp_path):
    """The spool as the gateway's process sees it."""
    return f"/proc/{process.pid}/root{tmp_path}/spool"


def wait_until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)  # another process is looked at


def answer_to_mail(process):
    """In a session of its own: too many refusals end one."""
    with smtplib.SMTP(*process.address("mx")) as client:
        client.ehlo()
        return client.mail("s@example.net")


@pytest.mark.parametrize("what", ["space", "inodes"])
def test_mail_is_refused_before_the_spool_is_full_and_accepted_again_after(process, spool, tmp_path, what):
    with smtplib.SMTP(*process.address("mx")) as client, smtplib.SMTP(*process.address("mx")) as other:
        for session in (client, other):
            session.ehlo()
        assert client.sendmail("s@example.net", ["a@example.org"], b"Subject: before\r\n\r\n") == {}
        # This one is under way when the disk fills up.
        other.mail("s@example.net")
        other.rcpt("a@example.org")
        fill = spool + "/filling"
        if what == "space":
            with open(fill, "wb") as file:  # noqa: PTH123  # beyond what a path of ours can name
                free = os.statvfs(spool)
                file.write(bytes(free.f_bavail * free.f_frsize - 2 * 1024 * 1024))
        else:
            os.mkdir(fill)  # noqa: PTH102
            for number in range(365):
                with open(f"{fill}/{number}", "x"):  # noqa: PTH123
                    pass
        wait_until(lambda: answer_to_mail(process)[0] != 250)
        assert answer_to_mail(process) == FULL
        assert other.data(b"Subject: under way\r\n\r\n")[0] == 250
        wait_until(lambda: len(list((tmp_path / "mail").rglob("*.json"))) == 2)
        if what == "space":
            os.unlink(fill)  # noqa: PTH108
        else:
            shutil.rmtree(fill)
        wait_until(lambda: answer_to_mail(process)[0] == 250)
        assert client.sendmail("s@example.net", ["a@example.org"], b"Subject: after\r\n\r\n") == {}
        wait_until(lambda: len(list((tmp_path / "mail").rglob("*.json"))) == 3)
