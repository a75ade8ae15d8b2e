"""A spool on a file system that fills up: mail is refused before that, and what was accepted is delivered."""

import os
import shutil
import smtplib
import subprocess
import time
from pathlib import Path

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
APART = """
import ctypes, os
os.unshare = ctypes.CDLL(None, use_errno=True).unshare
assert os.unshare(0x00020000) == 0  # CLONE_NEWNS
import subprocess
subprocess.run(["mount", "--make-rprivate", "/"], check=True)
"""
MOUNT = f"""{APART}
os.mkdir("spool")
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m,nr_inodes=400", "tmpfs", "spool"], check=True)
"""
# ext4 becomes read-only by itself after an error, with files open for writing; nobody could remount it so.
FAILING = f"""{APART}
if not os.path.exists("image"):
    os.mkdir("spool")
    subprocess.run(["mkfs.ext4", "-q", "image", "64m"], check=True)
subprocess.run(["mount", "-o", "loop,errors=remount-ro", "image", "spool"], check=True)
"""
FULL = (452, b"4.3.1 not enough storage, try again later")


def can_mount():
    if os.geteuid() or shutil.which("unshare") is None:
        return False
    command = ["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


def can_mount_ext4(image):
    if not can_mount() or shutil.which("mkfs.ext4") is None or not os.access("/sys/fs/ext4", os.W_OK):
        return False
    with image.open("wb") as file:
        file.truncate(16 * 1024 * 1024)
    command = f"mkfs.ext4 -q {image} && mount -o loop {image} /mnt"
    return subprocess.run(["unshare", "--mount", "sh", "-c", command], check=False, capture_output=True).returncode == 0


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


def test_a_file_system_that_becomes_read_only_costs_the_mail_that_comes_and_none_that_was_accepted(tmp_path):
    if not can_mount_ext4(tmp_path / "probe"):
        pytest.skip("only root mounts file systems, and not everywhere")
    (tmp_path / "mailsluice.toml").write_text(CONFIGURATION)
    arguments = {"folder": tmp_path, "prelude": FAILING, "quiet": True}
    with GatewayProcess("--config", "mailsluice.toml", **arguments) as process:
        shutil.rmtree(tmp_path / "mail", ignore_errors=True)
        (tmp_path / "mail").touch()  # what was accepted waits
        with smtplib.SMTP(*process.address("mx")) as client:
            assert client.sendmail("s@example.net", ["a@example.org"], b"Subject: before\r\n\r\n") == {}
            let_ext4_fail(process.pid)
            for _ in range(2):
                with pytest.raises(smtplib.SMTPResponseException) as refused:
                    client.sendmail("s@example.net", ["a@example.org"], b"Subject: meanwhile\r\n\r\n")
                assert 400 <= refused.value.smtp_code < 500
    (tmp_path / "mail").unlink()
    with GatewayProcess("--config", "mailsluice.toml", **arguments) as process:
        with smtplib.SMTP(*process.address("mx")) as client:
            assert client.sendmail("s@example.net", ["a@example.org"], b"Subject: after\r\n\r\n") == {}
        wait_until(lambda: len(list((tmp_path / "mail").rglob("*.json"))) == 2)
    found = {path.read_bytes().split(b"Subject: ")[1].strip() for path in (tmp_path / "mail").rglob("*.eml")}
    assert found == {b"before", b"after"}


def let_ext4_fail(pid):
    """As the kernel does when it meets damage: the file system is read-only from now on."""
    mounts = (line.split() for line in Path(f"/proc/{pid}/mounts").read_text().splitlines())
    (device,) = (Path(words[0]).name for words in mounts if words[1].endswith("/spool"))
    Path(f"/sys/fs/ext4/{device}/trigger_fs_error").write_text("1")
