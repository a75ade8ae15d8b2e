"""What a supervisor and its workers say to each other, over a socket that keeps messages apart.

Its other end is closed when the process there is gone, however it ended: that is how both sides notice.
"""

import socket
from contextlib import suppress

import msgspec
from msgspec import Struct

from gateway.app.places import Places

__all__ = [
    "Address",
    "Channel",
    "Commit",
    "Drop",
    "Ended",
    "Failed",
    "Message",
    "Prepare",
    "Prepared",
    "Ready",
    "Renewed",
    "Stop",
]

_MESSAGE_OCTETS = 64 * 1024
_MOST_DESCRIPTORS = 64


class Address(Struct, frozen=True, tag=True):
    """To a worker: the sockets that come with this hold the address."""

    address: str


class Prepare(Struct, frozen=True, tag=True):
    """To a worker: read the configuration again, and have what it needs beside what there is.

    The addresses of its listeners have gone before this, and `digest` says which configuration is meant. The answer is
    Prepared, or Renewed with a cause.
    """

    digest: str


class Commit(Struct, frozen=True, tag=True):
    """To a worker that is prepared: take the new configuration. The answer is Renewed."""


class Drop(Struct, frozen=True, tag=True):
    """To a worker that is prepared: keep the old configuration. The answer is Renewed."""


class Stop(Struct, frozen=True, tag=True):
    """To a worker: end in good order; said twice, end at once."""


class Ready(Struct, frozen=True, tag=True):
    """From a worker: it accepts mail."""


class Prepared(Struct, frozen=True, tag=True):
    """From a worker: it can take the new configuration, and waits to hear whether it is to."""


class Renewed(Struct, frozen=True, tag=True):
    """From a worker: it has the new configuration, or keeps the old one for a cause, in one sentence."""

    cause: str


class Failed(Struct, frozen=True, tag=True):
    """From a worker that ends now: why it cannot run, in one sentence for the operator."""

    sentence: str


class Ended(Struct, frozen=True, tag=True):
    """The process at the other end is gone; nobody sends this."""


Message = Address | Prepare | Commit | Drop | Stop | Ready | Prepared | Renewed | Failed | Ended

_DECODER: msgspec.json.Decoder[Message] = msgspec.json.Decoder(Message)


class Channel:
    """One end. Nothing here blocks."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        end.setblocking(False)

    @classmethod
    def pair(cls) -> "tuple[Channel, Channel]":
        """Both ends."""
        one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        return cls(one), cls(other)

    def fileno(self) -> int:
        """The descriptor, to wait for messages."""
        return self._socket.fileno()

    def send(self, message: Message) -> None:
        """Send a message. To who does not read, or is gone, it is lost: of both there are other signs."""
        self._send(message, ())

    def send_places(self, places: Places) -> None:
        """Send all addresses."""
        for address, sockets in places.items():
            self._send(Address(address), tuple(each.fileno() for each in sockets))

    def receive(self) -> tuple[Message, tuple[socket.socket, ...]] | None:
        """The next message and the sockets that came with it; None where there is none yet.

        There are no sockets where this process has not enough descriptors left for all of them.
        """
        try:
            octets, descriptors, flags, _ = socket.recv_fds(self._socket, _MESSAGE_OCTETS, _MOST_DESCRIPTORS)
        except BlockingIOError:
            return None
        except ConnectionResetError:
            octets, descriptors, flags = b"", [], 0
        sockets = tuple(socket.socket(fileno=descriptor) for descriptor in descriptors)
        if flags & socket.MSG_CTRUNC:
            # Some without the others would be an address at which nobody, or not everybody, is heard.
            for each in sockets:
                each.close()
            sockets = ()
        return (_DECODER.decode(octets) if octets else Ended()), sockets

    def close(self) -> None:
        """Say and hear nothing more."""
        self._socket.close()

    def _send(self, message: Message, descriptors: tuple[int, ...]) -> None:
        with suppress(BlockingIOError, BrokenPipeError, ConnectionResetError):
            socket.send_fds(self._socket, [msgspec.json.encode(message)], descriptors)
