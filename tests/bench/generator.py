"""The load generator: sessions that send mails whose octets were put together before the clock starts.

    python -m tests.bench.generator '{"load": {…}, "port": 2525, "mails": 10000}'

One thread with one epoll descriptor plays all sessions. A mail is a few steps, each of octets to send and a number of
replies to wait for; with pipelining (RFC 2920) DATA takes two and BDAT one. The clock runs from the moment when all
sessions have been greeted (where each connection has one mail: from the first connection) to the last final reply.
Printed is JSON: seconds, CPU seconds of this process, and the latency of final replies, counted from when the last
octet of the mail was handed to the kernel.
"""

import json
import random
import select
import socket
import sys
import time
from array import array
from base64 import b64encode
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, Self

__all__ = ["Refused", "Step", "content", "mail_steps", "run"]

_CONNECT_SECONDS = 30.0
_RECEIVE_OCTETS = 65536
_SILENCE_SECONDS = 60.0
_TRACE = b"Received: from client.example.net by mx.example.net with ESMTP; Sat, 21 Nov 2026 10:00:00 +0000\r\n"
_CONTAINERS = (b"\x00\x00" + _TRACE, b"\x00\x01\\Flagged $Forwarded")


class Refused(Exception):
    """The server said something else than it should; the text is what it said."""


class Step(NamedTuple):
    """Octets to send, and how many replies then come."""

    octets: bytes
    replies: int


def content(size: int) -> bytes:
    """A mail of exactly so many octets, in lines, none of which begins with a dot."""
    header = b"From: <sender@example.net>\r\nTo: <recipient@example.org>\r\nSubject: a benchmark\r\n\r\n"
    text = b64encode(random.Random(5).randbytes(size))  # always the same, and no easy prey for a compressor
    lines = b"".join(text[start : start + 76] + b"\r\n" for start in range(0, size, 76))
    return header + lines[: size - len(header) - 2].rstrip(b"\r\n").ljust(size - len(header) - 2, b"x") + b"\r\n"


def mail_steps(load: Mapping[str, Any]) -> tuple[Step, ...]:
    """One mail, as a client that pipelines says it. The replies of the last step end with the final ones."""
    recipients = load["recipients"]
    final = recipients if load["dialect"] == "LMTP" else 1
    begin = b"MAIL FROM:<sender@example.net>\r\n" + b"".join(
        b"RCPT TO:<recipient-%d@example.org>\r\n" % number for number in range(recipients)
    )
    octets = content(load["size"])
    if load["command"] == "DATA":
        return (Step(begin + b"DATA\r\n", recipients + 2), Step(octets + b".\r\n", final))
    containers = [_CONTAINERS[number % len(_CONTAINERS)] for number in range(load["containers"])]
    metadata = b"".join(b"BMTD %d\r\n%b" % (len(each), each) for each in containers)
    whole = b"%b%bBDAT %d LAST\r\n%b" % (begin, metadata, len(octets), octets)
    return (Step(whole, 1 + recipients + len(containers) + final),)


class _Session:
    """One connection: what it still has to send, and the replies it still waits for."""

    def __init__(self, port: int, steps: Iterator[Step]) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), _CONNECT_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.steps = steps
        self.step = Step(b"", 0)
        self.sent_at = 0.0
        self._unsent = memoryview(b"")
        self._awaited = 0
        self._rest = b""

    def begin(self, step: Step) -> bool:
        """Whether all of it could be sent at once."""
        self.step = step
        self._unsent = memoryview(step.octets)
        self._awaited = step.replies
        return self.write()

    def write(self) -> bool:
        """Whether all is sent."""
        while self._unsent:
            try:
                self._unsent = self._unsent[self.socket.send(self._unsent) :]
            except BlockingIOError:
                return False
        self.sent_at = time.perf_counter()
        return True

    def read(self) -> bool:
        """Whether all replies to the step are here."""
        octets = self.socket.recv(_RECEIVE_OCTETS)
        if not octets:
            raise Refused("the server closed the connection")
        *lines, self._rest = (self._rest + octets).split(b"\r\n")
        for line in lines:
            if line[:1] not in b"23":
                raise Refused(line.decode(errors="replace"))
            if line[3:4] != b"-":
                self._awaited -= 1
        return self._awaited <= 0


class _Crowd:
    """All sessions. `busy` counts those that have something left to do."""

    def __init__(self, load: Mapping[str, Any], port: int, mails: int) -> None:
        self._port = port
        self._left = mails
        self._count = min(load["sessions"], mails)
        self._one_each = load["one_each"]
        self._mail = mail_steps(load)
        hello = b"LHLO" if load["dialect"] == "LMTP" else b"EHLO"
        self._greeting = (Step(b"", 1), Step(hello + b" client.example.net\r\n", 1))
        self._epoll = select.epoll()
        self._sessions: dict[int, _Session] = {}
        self._busy = 0
        self.latencies = array("d")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._epoll.close()
        for session in self._sessions.values():
            session.socket.close()

    def send(self) -> tuple[float, float]:
        """Send all mails: wall clock and CPU seconds."""
        if not self._one_each:
            for _ in range(self._count):
                self._connect(iter(self._greeting))
            self._go_on()
        began, cpu = time.perf_counter(), time.process_time()
        if self._one_each:
            for _ in range(self._count):
                self._connect(self._one_mail())
        else:
            for session in tuple(self._sessions.values()):
                session.steps = self._mails()
                self._busy += 1
                self._next(session)
        self._go_on()
        return time.perf_counter() - began, time.process_time() - cpu

    def _mails(self) -> Iterator[Step]:
        while self._left:
            self._left -= 1
            yield from self._mail

    def _one_mail(self) -> Iterator[Step]:
        self._left -= 1
        yield from (*self._greeting, *self._mail, Step(b"QUIT\r\n", 1))

    def _connect(self, steps: Iterator[Step]) -> None:
        session = _Session(self._port, steps)
        self._sessions[session.socket.fileno()] = session
        self._epoll.register(session.socket, select.EPOLLIN)
        self._busy += 1
        self._next(session)

    def _go_on(self) -> None:
        while self._busy:
            ready = self._epoll.poll(_SILENCE_SECONDS)
            if not ready:
                raise Refused(f"the server said nothing for {_SILENCE_SECONDS:g} s")
            for number, event in ready:
                session = self._sessions[number]
                if event & select.EPOLLOUT and session.write():
                    self._epoll.modify(number, select.EPOLLIN)
                if event & ~select.EPOLLOUT and session.read():
                    if session.step is self._mail[-1]:
                        self.latencies.append(time.perf_counter() - session.sent_at)
                    self._next(session)

    def _next(self, session: _Session) -> None:
        step = next(session.steps, None)
        if step is not None:
            if not session.begin(step):
                self._epoll.modify(session.socket, select.EPOLLIN | select.EPOLLOUT)
            return
        self._busy -= 1
        if self._one_each:
            del self._sessions[session.socket.fileno()]
            session.socket.close()  # which takes it from the epoll descriptor, too
            if self._left:
                self._connect(self._one_mail())


def run(load: Mapping[str, Any], port: int, mails: int) -> dict[str, float]:
    """Send so many mails. Raises Refused, and OSError where there is no such server."""
    with _Crowd(load, port, mails) as crowd:
        seconds, cpu_seconds = crowd.send()
    ordered = sorted(crowd.latencies)
    return {
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "p50_seconds": ordered[len(ordered) // 2],
        "p99_seconds": ordered[len(ordered) * 99 // 100],
    }


if __name__ == "__main__":
    try:
        print(json.dumps(run(**json.loads(sys.argv[1]))))
    except (Refused, OSError) as error:
        sys.exit(str(error))
