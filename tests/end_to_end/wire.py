"""A client that says exactly what a test tells it to, and reads one reply at a time."""

import socket
from types import TracebackType
from typing import Self

_SECONDS = 60.0


class Wire:
    """A connection to a listener, given its address in the form of the configuration; no reply takes `seconds`."""

    def __init__(self, address: str, *, seconds: float = _SECONDS) -> None:
        if address.startswith("unix:"):
            self._socket = socket.socket(socket.AF_UNIX)
            self._socket.settimeout(seconds)
            self._socket.connect(address.removeprefix("unix:"))
        else:
            host, _, port = address.rpartition(":")
            self._socket = socket.create_connection((host, int(port)), seconds)
        self._stream = self._socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leave, without a QUIT."""
        self._stream.close()
        self._socket.close()

    def send(self, octets: bytes) -> None:
        """Send octets as they are."""
        self._socket.sendall(octets)

    def read(self) -> str:
        """One reply, its lines joined by LF and without their ends; empty when the server has closed the connection."""
        lines = []
        while line := self._stream.readline().decode():
            lines.append(line.rstrip("\r\n"))
            if line[3:4] != "-":
                break
        return "\n".join(lines)

    def ask(self, line: str) -> str:
        """Send a line, and read the reply."""
        self.send(line.encode() + b"\r\n")
        return self.read()

    def greet(self, hello: str = "EHLO") -> str:
        """Read the greeting and say hello: the reply to that."""
        greeting = self.read()
        assert greeting.startswith("220"), greeting
        return self.ask(f"{hello} client.example.net")

    def begin(self, *recipients: str, sender: str = "sender@example.net", parameters: str = "") -> list[str]:
        """Begin a transaction: the replies to RCPT."""
        reply = self.ask(f"MAIL FROM:<{sender}>{parameters}")
        assert reply.startswith("250"), reply
        return [self.ask(f"RCPT TO:<{recipient}>") for recipient in recipients]

    def data(self, content: bytes) -> str:
        """Send content by DATA, with dots doubled: the first final reply."""
        reply = self.ask("DATA")
        assert reply.startswith("354"), reply
        self.send(content.replace(b"\r\n.", b"\r\n..") + b".\r\n")
        return self.read()


def deliver(
    address: str,
    content: bytes,
    *recipients: str,
    sender: str = "sender@example.net",
    hello: str = "EHLO",
    containers: tuple[bytes, ...] = (),
) -> list[str]:
    """Send one mail by BDAT, after its metadata containers (type and data): the final replies, of all recipients."""
    with Wire(address) as wire:
        wire.greet(hello)
        for reply in wire.begin(*recipients, sender=sender):
            assert reply.startswith("250"), reply
        for container in containers:
            wire.send(b"BMTD %d\r\n%b" % (len(container), container))
            reply = wire.read()
            assert reply.startswith("250"), reply
        wire.send(b"BDAT %d LAST\r\n%b" % (len(content), content))
        return [wire.read() for _ in range(len(recipients) if hello == "LHLO" else 1)]
