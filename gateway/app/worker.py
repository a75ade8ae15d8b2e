"""One of several workers: a process that runs as a gateway of its own, and takes its orders from a supervisor."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from typing import NoReturn

import structlog

from gateway.app.channel import Address, Channel, Commit, Drop, Ended, Failed, Prepare, Prepared, Ready, Renewed, Stop
from gateway.app.failure import StartError
from gateway.app.lifecycle import serve_logging_to
from gateway.app.logs import log_to
from gateway.app.places import Places
from gateway.app.share import share
from gateway.config import Config

__all__ = ["work"]

# A message has its limits.
_LONGEST_SENTENCE = 4096

_log = structlog.get_logger()


def work(
    number: int, config: Config, reread: Callable[[], Config], channel: Channel, places: Places, *, turns: int
) -> NoReturn:
    """Be this worker until the supervisor at the other end of `channel` has it end, and end the process.

    For a process that was forked from the supervisor, with its signals still blocked. `config` is that of the whole
    gateway, of which the worker has its share, and so does `reread` give; `turns` is what LogLines says.
    """
    status = 1
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        # A terminal's, or for a reload: the supervisor hears them too, and says what to do.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        lines = log_to(sys.stderr, turns=turns, worker=number)
        orders = _Supervised(channel)
        serve_logging_to(lines, share(config, number), lambda: share(orders.meant(reread()), number), orders, places)
        status = 0
    except StartError as error:
        channel.send(Failed(str(error)[:_LONGEST_SENTENCE]))
    except BaseException:  # noqa: BLE001  # the top of a process: nothing may come back to where it was forked
        # By now standard error is as the process got it, and to write there may take for ever.
        with closing(log_to(sys.stderr, turns=turns, worker=number)):
            _log.exception("alarm: a defect ends the worker")
    finally:
        # A process may be started without standard output.
        with suppress(OSError, ValueError, AttributeError):
            sys.stdout.flush()
        # What the supervisor has put up is not for this process to take down.
        os._exit(status)


class _Supervised:
    """The orders of a supervisor. Where it is gone the worker ends in good order, as nobody would start it again."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._ends: asyncio.Queue[None] = asyncio.Queue()
        self._stopping = False
        self._addresses: dict[str, tuple[socket.socket, ...]] = {}
        self._renewals: asyncio.Queue[Places] = asyncio.Queue()
        self._digest = ""
        self._decisions: asyncio.Queue[Commit | Drop] = asyncio.Queue()

    def take(self) -> None:
        """Take orders. Until now SIGTERM has ended the process at once; from now on the supervisor says when."""
        # Whoever ends all processes of a service, a terminal or an init, means one end, and the supervisor hears it.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        asyncio.get_running_loop().add_reader(self._channel.fileno(), self._receive)

    async def end(self) -> None:
        """Return at the next order to stop, or when the supervisor is gone."""
        await self._ends.get()

    async def renewal(self) -> Places | None:
        """Return when the configuration is to be read again."""
        return await self._renewals.get()

    def meant(self, config: Config) -> Config:
        """The configuration that was read, if it is the one that all are to take. Raises StartError."""
        if config.digest != self._digest:
            raise StartError("the configuration has changed meanwhile; reload it again")
        return config

    async def agreement(self) -> None:
        """Say that this worker can, and return when all can. Raises StartError when another one cannot."""
        self._channel.send(Prepared())
        if isinstance(await self._decisions.get(), Drop):
            raise StartError("another worker cannot take the configuration")

    def report(self, lines: Sequence[str], *, cause: str = "", is_first: bool = False) -> None:  # noqa: ARG002  # the supervisor has them
        """Tell the supervisor, which knows the addresses."""
        self._channel.send(Ready() if is_first else Renewed(cause[:_LONGEST_SENTENCE]))

    def _receive(self) -> None:
        while (received := self._channel.receive()) is not None:
            message, sockets = received
            match message:
                case Address(address):
                    self._addresses[address] = sockets
                case Prepare(digest):
                    self._digest = digest
                    self._renewals.put_nowait(Places(self._addresses))
                    self._addresses = {}
                case Commit() | Drop():
                    self._decisions.put_nowait(message)
                case Stop():
                    self._stopping = True
                    self._ends.put_nowait(None)
                case Ended():
                    asyncio.get_running_loop().remove_reader(self._channel.fileno())
                    if not self._stopping:
                        _log.error("the supervisor is gone, and so this worker ends")
                        self._ends.put_nowait(None)
                    return
