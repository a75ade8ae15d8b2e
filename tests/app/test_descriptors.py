"""File descriptors run out for clients first: never for the spool, the connectors or those who are connected."""

import resource
import socket
import time
from contextlib import suppress
from pathlib import Path

import pytest

from gateway.app.process import max_connections, max_content_files
from tests.app.gateway_process import GatewayProcess

CONFIGURATION = """
[[listener]]
name = "mx"
protocol = "smtp"
bind = "127.0.0.1:0"
[[listener]]
name = "other"
protocol = "smtp"
bind = "127.0.0.1:0"
[[connector]]
name = "archive"
type = "directory"
path = "mail"
[[route]]
recipients = ["*@example.org"]
connectors = ["archive"]
accept = "spooled"
"""
DESCRIPTORS = f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, ({64}, {64}))"
LOOPS = {"asyncio": "import sys; sys.modules['uvloop'] = None", "uvloop": "import uvloop"}
FILES = (64 - 32) // 3
# More than are kept in memory.
LARGE = b"BDAT 600000 LAST\r\n" + b"x" * 600_000


class Client:
    def __init__(self, address):
        self._socket = socket.create_connection(address, 20)
        self._stream = self._socket.makefile("rb")

    def send(self, octets):
        self._socket.sendall(octets)

    def reply(self):
        """The last line of the next reply; empty when the connection has ended."""
        try:
            while (line := self._stream.readline())[3:4] == b"-":
                pass
        except ConnectionResetError:
            return b""
        return line

    def ask(self, command):
        self.send(command)
        return self.reply()

    def mail(self, content=b"BDAT 2 LAST\r\n\r\n"):
        self.send(b"MAIL FROM:<s@example.net>\r\nRCPT TO:<a@example.org>\r\n")
        assert self.reply().startswith(b"250 ")
        assert self.reply().startswith(b"250 ")
        return self.ask(content)

    def close(self):
        self._stream.close()
        self._socket.close()


def processor_seconds(pid):
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / 100


def wait_until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)  # another process is looked at


def files_of_large_content(pid):
    """How many files without a name the process has open in its spool."""
    count = 0
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            name = str(descriptor.readlink())
            count += name.endswith(" (deleted)") and "/spool/" in name
    return count


def archived(folder):
    return len(list((folder / "mail").rglob("*.json")))


@pytest.mark.parametrize("loop", LOOPS)
def test_more_clients_than_descriptors_disturb_nobody_who_is_connected(tmp_path, loop):
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    (tmp_path / "mailsluice.toml").write_text(CONFIGURATION)
    prelude = f"{DESCRIPTORS}\n{LOOPS[loop]}"
    with GatewayProcess("--config", "mailsluice.toml", folder=tmp_path, prelude=prelude) as process:
        addresses = [process.address("mx"), process.address("other")]
        early = Client(addresses[0])
        assert early.reply().startswith(b"220 ")
        assert early.ask(b"EHLO client.example.net\r\n").startswith(b"250 ")
        assert early.mail().startswith(b"250 ")
        crowd = [Client(addresses[number % 2]) for number in range(200)]
        greetings = [client.reply() for client in crowd]
        places = sum(greeting.startswith(b"220 ") for greeting in greetings)
        assert places == (64 - 32) * 2 // 3 - 1
        assert greetings.count(b"421 4.3.2 too many connections, try again later\r\n") == 200 - places
        started = time.monotonic()
        assert early.ask(b"NOOP\r\n").startswith(b"250 ")
        assert time.monotonic() - started < 1
        # Some of those who stay may need a file besides, and the spool has its own.
        staying = [client for client, greeting in zip(crowd, greetings, strict=True) if greeting.startswith(b"220 ")]
        for client in (early, *staying):
            client.send(b"EHLO client.example.net\r\n")
            assert client is early or client.reply().startswith(b"250 ")
        assert early.reply().startswith(b"250 ")
        for client in (early, *staying):
            client.send(b"MAIL FROM:<s@example.net>\r\nRCPT TO:<a@example.org>\r\n")
            assert [client.reply()[:3], client.reply()[:3]] == [b"250", b"250"]
            client.send(LARGE[:-1])
        wait_until(lambda: files_of_large_content(process.pid) == FILES)
        for client in (early, *staying):
            client.send(LARGE[-1:])
        answers = [client.reply() for client in (early, *staying)]
        assert sum(answer.startswith(b"250 ") for answer in answers) >= FILES
        assert {answer[:9] for answer in answers} <= {b"250 2.0.0", b"452 4.3.1"}
        accepted = [answer for answer in answers if answer.startswith(b"250 ")]
        wait_until(lambda: archived(tmp_path) == 1 + len(accepted))
        # Nothing goes round in a circle meanwhile.
        before = processor_seconds(process.pid)
        time.sleep(1)  # how much is done in a second is what is asked
        assert processor_seconds(process.pid) - before < 0.3
        for client in crowd:
            client.close()

        def is_admitted():
            again = Client(addresses[1])
            try:
                return again.reply().startswith(b"220 ")
            finally:
                again.close()

        wait_until(is_admitted)
        early.close()


def test_connections_and_content_leave_a_quarter_of_the_descriptors_to_others(monkeypatch):
    expected = {64: (21, 10), 1024: (512, 256), 20_000: (10_000, 5_000), 32: (1, 1)}
    for limit, numbers in {**expected, resource.RLIM_INFINITY: (524_288, 262_144)}.items():
        monkeypatch.setattr(resource, "getrlimit", lambda _, limit=limit: (limit, limit))
        assert (max_connections(), max_content_files()) == numbers
