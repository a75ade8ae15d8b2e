"""Many large mails at the same time: the disk carries them, and memory stays as it was."""

import hashlib
import json
import os
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.app.gateway_process import GatewayProcess

MEBIBYTE = 1024 * 1024
CONFIGURATION = """
[[listener]]
name = "mx"
protocol = "smtp"
bind = "127.0.0.1:0"
max_message_bytes = 60_000_000
[[connector]]
name = "archive"
type = "directory"
path = "mail"
deadline_seconds = 540.0
[[route]]
recipients = ["*"]
connectors = ["archive"]
accept = "{accept}"
"""
_CLIENTS = 50
_SECONDS = 300


def memory(pid):
    """Resident memory in octets, now and at most, by the kernel's own names (proc(5))."""
    fields = (line.split() for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return {words[0].rstrip(":"): int(words[1]) * 1024 for words in fields if words[-1] == "kB"}


def send(address, content, in_the_middle):
    """The reply to one mail of which the others are in the middle too."""
    with socket.create_connection(address, _SECONDS) as client, client.makefile("rb") as stream:

        def ask(octets):
            client.sendall(octets)
            while (line := stream.readline())[3:4] == b"-":
                pass
            return line

        stream.readline()
        ask(b"EHLO client.example.net\r\n")
        reply = ask(b"MAIL FROM:<s@example.net> SIZE=%d BODY=BINARYMIME\r\n" % len(content))
        if not reply.startswith(b"250 "):
            in_the_middle.wait()
            return reply
        ask(b"RCPT TO:<a@example.org>\r\n")
        client.sendall(b"BDAT %d LAST\r\n" % len(content))
        client.sendall(memoryview(content)[: len(content) // 2])
        in_the_middle.wait()
        return ask(memoryview(content)[len(content) // 2 :])


def crowd(folder, *, accept, octets):
    """The replies to a crowd of mails of this size, and how much resident memory grew."""
    (folder / "mailsluice.toml").write_text(CONFIGURATION.format(accept=accept))
    content = os.urandom(octets)
    with GatewayProcess("--config", "mailsluice.toml", folder=folder, seconds=_SECONDS, quiet=True) as process:
        before = memory(process.pid)["VmRSS"]
        Path(f"/proc/{process.pid}/clear_refs").write_text("5")
        in_the_middle = threading.Barrier(_CLIENTS, timeout=_SECONDS)
        with ThreadPoolExecutor(_CLIENTS) as clients:
            sent = [clients.submit(send, process.address("mx"), content, in_the_middle) for _ in range(_CLIENTS)]
            replies = [reply.result() for reply in sent]
        growth = memory(process.pid)["VmHWM"] - before
    stored = [json.loads(path.read_bytes()) for path in (folder / "mail").rglob("*.json")]
    digest = hashlib.sha256(content).hexdigest()
    assert {mail["message"]["sha256"] for mail in stored} <= {digest}
    return replies, growth


@pytest.mark.parametrize("accept", ["delivered", "spooled"])
def test_memory_does_not_grow_with_a_crowd_of_large_mails(tmp_path, accept):
    """They have 200 MiB together."""
    replies, growth = crowd(tmp_path, accept=accept, octets=4 * MEBIBYTE)
    assert {reply[:4] for reply in replies} <= {b"250 ", b"452 "}
    assert any(reply.startswith(b"250 ") for reply in replies)
    assert growth < 100 * MEBIBYTE
