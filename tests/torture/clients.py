"""Clients that send mail over raw sockets, and write down what they were told.

    client = Client(gateway.addresses, journal)
    outcomes = client.send(mail)                        # one mail, in this thread

    with Load(gateway.addresses, journal, streams) as load:     # a thread and a connection for each stream of mails
        ...                                             # until the gateway is gone, or the block ends

Commands go in groups (RFC 2920), and a mail takes three round trips at most: what the bench has to wait for is the
gateway, not the client.
"""

import hashlib
import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Self

from tests.end_to_end.wire import Wire
from tests.torture.journal import Attempt, Ending, Journal, Outcome, metadata_digest, sender
from tests.torture.workload import Mail

__all__ = ["Client", "Load"]

# A reply that was cut off when the gateway died says nothing: a positive one is whole when its id is.
_POSITIVE = re.compile(r"2[0-9]{2} 2\.[0-9.]+ .*\b([0-7][0-9A-HJKMNP-TV-Z]{25})\b.*")
_NEGATIVE = re.compile(r"([45][0-9]{2})[ -]")
_CLOSING = 421


class Client:
    """One client, with a connection to each listener that it has needed so far, by name: `smtp` or `lmtp`."""

    def __init__(self, addresses: Mapping[str, str], journal: Journal) -> None:
        self._addresses = addresses
        self._journal = journal
        self._wires: dict[str, Wire] = {}
        # Whether a connection broke, or could not be had: the gateway is gone, or out of order.
        self.is_cut_off = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leave without a word."""
        for wire in self._wires.values():
            wire.close()
        self._wires.clear()

    def connect(self, listener: str) -> None:
        """Have a connection to the listener. Raises OSError."""
        if listener not in self._wires:
            wire = Wire(self._addresses[listener])
            try:
                for expected, said in (("220", wire.read()), ("250", _hello(wire, listener))):
                    if not said.startswith(expected):
                        raise ConnectionError(f"{listener} answered {said!r} instead of {expected}")
            except OSError:
                wire.close()
                raise
            self._wires[listener] = wire

    def send(self, mail: Mail) -> tuple[Outcome, ...]:
        """Send one mail, and write to the journal before and after: the outcome for each recipient, in order.

        A connection that breaks, or cannot be had, is an outcome too.
        """
        self._journal.attempted(
            Attempt(
                marker=mail.marker,
                mode=mail.mode,
                recipients=mail.recipients,
                size=len(mail.content),
                sha256=hashlib.sha256(mail.content).hexdigest(),
                metadata_sha256=metadata_digest(mail.containers),
            )
        )
        passage = _Passage(mail)
        try:
            self.connect(mail.listener)
            passage.pass_through(self._wires[mail.listener])
        except OSError:
            self.is_cut_off = True
            self.close()
        else:
            if passage.is_out_of_step:
                self._wires.pop(mail.listener).close()
        outcomes = passage.outcomes()
        self._journal.concluded(mail.marker, outcomes)
        return outcomes


class _Passage:
    """One mail's transaction."""

    def __init__(self, mail: Mail) -> None:
        self._mail = mail
        self._told: dict[str, str] = {}  # the reply that is final for a recipient
        self._is_sent = False
        # After a refusal in the midst of a mail it is simpler to leave than to reset.
        self.is_out_of_step = False

    def pass_through(self, wire: Wire) -> None:
        """Send it and read what is answered. Raises OSError where the connection ends, at any point."""
        mail = self._mail
        parameters = (" BODY=BINARYMIME" if mail.chunks else "") + (" SMTPUTF8" if mail.is_utf8 else "")
        commands = [f"MAIL FROM:<{sender(mail.marker)}>{parameters}"]
        commands += [f"RCPT TO:<{recipient}>" for recipient in mail.recipients]
        commands += [] if mail.chunks else ["DATA"]
        wire.send("".join(f"{command}\r\n" for command in commands).encode())
        begun = _read(wire)
        for recipient in mail.recipients:
            reply = _read(wire)
            if not reply.startswith("250"):
                self._told[recipient] = reply if begun.startswith("250") else begun
        if not mail.chunks and not (go_ahead := _read(wire)).startswith("354"):
            self._told |= dict.fromkeys(self._accepted, go_ahead)
        if not (accepted := self._accepted):
            self.is_out_of_step = True
            return
        if mail.chunks:
            self._send_chunks(wire)
        else:
            content = mail.content.replace(b"\r\n.", b"\r\n..")
            wire.send((b"." if content.startswith(b".") else b"") + content + b".\r\n")
            self._is_sent = True
        if not self.is_out_of_step:
            self._read_final(wire, accepted)

    @property
    def _accepted(self) -> list[str]:
        return [recipient for recipient in self._mail.recipients if recipient not in self._told]

    def _send_chunks(self, wire: Wire) -> None:
        mail = self._mail
        commands = list(_chunk_commands(mail))
        wire.send(b"".join(commands))
        self._is_sent = True
        for _ in commands[:-1]:
            if not (reply := _read(wire)).startswith("250"):
                self._told |= dict.fromkeys(self._accepted, reply)
                self.is_out_of_step = True
                return

    def _read_final(self, wire: Wire, accepted: list[str]) -> None:
        if self._mail.listener == "smtp":
            reply = _read(wire)
            self._told |= dict.fromkeys(accepted, reply)
        else:
            # RFC 2033 §4.2: one reply per accepted recipient, in order.
            for recipient in accepted:
                self._told[recipient] = _read(wire)

    def outcomes(self) -> tuple[Outcome, ...]:
        """What is known of each recipient."""
        return tuple(self._outcome(recipient) for recipient in self._mail.recipients)

    def _outcome(self, recipient: str) -> Outcome:
        reply = self._told.get(recipient, "")
        if match := _POSITIVE.fullmatch(reply):
            return Outcome(Ending.ACKED, int(reply[:3]), match[1])
        if (match := _NEGATIVE.match(reply)) and int(match[1]) != _CLOSING:
            return Outcome(Ending.REJECTED, int(match[1]))
        return Outcome(Ending.UNKNOWN if self._is_sent else Ending.UNFINISHED)


class Load:
    """Threads that send, each its own stream of mails over its own connections.

    A thread ends when its connection breaks, when its stream does, and when the block is left.
    """

    def __init__(self, addresses: Mapping[str, str], journal: Journal, streams: Iterable[Iterator[Mail]]) -> None:
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._send, args=(Client(addresses, journal), stream), name=f"client {number}")
            for number, stream in enumerate(streams)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._over.set()
        self.wait()

    @property
    def running(self) -> int:
        """How many still send."""
        return sum(thread.is_alive() for thread in self._threads)

    def wait(self) -> None:
        """Return once all have ended."""
        for thread in self._threads:
            thread.join()

    def _send(self, client: Client, stream: Iterator[Mail]) -> None:
        with client, suppress(ConnectionError):
            for mail in stream:
                if self._over.is_set():
                    return
                client.connect(mail.listener)
                client.send(mail)
                if client.is_cut_off:
                    return


def _hello(wire: Wire, listener: str) -> str:
    return wire.ask(f"{'LHLO' if listener == 'lmtp' else 'EHLO'} client.example.net")


def _read(wire: Wire) -> str:
    if not (reply := wire.read()):
        raise ConnectionError("the gateway has closed the connection")
    return reply


def _chunk_commands(mail: Mail) -> Iterator[bytes]:
    """Metadata before content, as both revisions of the draft allow."""
    for container in mail.containers:
        yield b"BMTD %d\r\n%b" % (len(container), container)
    position = 0
    for number, size in enumerate(mail.chunks, 1):
        last = b" LAST" if number == len(mail.chunks) else b""
        yield b"BDAT %d%b\r\n%b" % (size, last, mail.content[position : position + size])
        position += size
