"""The process that has several workers run as one gateway: it starts them, tells them what to do, and takes no mail.

It has neither threads nor an event loop, since it forks, also when everything is running: a worker that ends although
nobody has told it to is started again, on the spool that it has left. The workers share nothing but the addresses
where they listen and the stream that their log goes to.
"""

import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import NoReturn

import structlog

from gateway.app.channel import Channel, Ended, Failed, Message, Ready, Renew, Renewed, Stop
from gateway.app.failure import StartError
from gateway.app.logs import log_with
from gateway.app.places import Places
from gateway.app.share import check_same_process
from gateway.app.sparse_lines import SparseLines
from gateway.app.worker import work
from gateway.config import Config, ConfigError

__all__ = ["supervise"]

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_FIRST_DELAY_SECONDS = 0.2
_LONGEST_DELAY_SECONDS = 30.0
# Who has run for so long does not end because of how it was started.
_SETTLED_SECONDS = 60.0
_LINES_SECONDS = 0.1

_log = structlog.get_logger()


def supervise(config: Config, reread: Callable[[], Config]) -> bool:
    """Run the gateway's workers until SIGTERM or SIGINT; whether all of them ended in good order then.

    `reread` gives the configuration for a SIGHUP, or raises ConfigError. Raises StartError when one of them cannot
    start: then none is left running.
    """
    turns = os.memfd_create("turns")
    with closing(SparseLines(sys.stderr, turns=turns)) as lines:
        log_with(lines)
        places = Places.reserve(config, beside=Places({}))
        return _Supervisor(config, reread, places, lines, turns).run()


@dataclass(slots=True, kw_only=True)
class _Worker:
    """A worker's process, as far as is known of it."""

    number: int
    pid: int
    channel: Channel
    config: Config
    started: float
    is_ready: bool = False
    sentence: str = ""


@dataclass(slots=True, kw_only=True)
class _Renewal:
    """A reload under way: what was there before, whose answers are awaited, of how many, and who has refused."""

    config: Config
    places: Places
    awaited: set[int]
    asked: int
    refused: int = 0


class _Supervisor:
    def __init__(
        self, config: Config, reread: Callable[[], Config], places: Places, lines: SparseLines, turns: int
    ) -> None:
        self._config = config
        self._reread = reread
        self._places = places
        self._lines = lines
        self._turns = turns
        self._selector = selectors.DefaultSelector()
        self._signals, self._wakeup = socket.socketpair()
        self._workers: dict[int, _Worker] = {}
        # When to start which worker again, and the delay of the last time.
        self._due: dict[int, float] = {}
        self._delays: dict[int, float] = {}
        self._was_ready = False
        self._stopping = False
        self._in_order = True
        self._failure = ""
        self._renewal_wanted = False
        self._renewal: _Renewal | None = None

    def run(self) -> bool:
        with self._hearing():
            for number in range(self._config.gateway.workers):
                self._start(number)
            while self._workers or self._due:
                self._turn()
        if self._failure:
            raise StartError(self._failure)
        _log.info("stopped")
        return self._in_order

    @contextmanager
    def _hearing(self) -> Iterator[None]:
        """Signals come as octets that can be waited for with everything else."""
        self._signals.setblocking(False)
        self._wakeup.setblocking(False)
        self._selector.register(self._signals, selectors.EVENT_READ)
        signal.set_wakeup_fd(self._wakeup.fileno())
        for number in _SIGNALS:
            signal.signal(number, lambda *_: None)
        try:
            yield
        finally:
            signal.set_wakeup_fd(-1)

    def _turn(self) -> None:
        """Wait for what comes next, and do what is to be done about it."""
        for key, _ in self._selector.select(self._patience()):
            if isinstance(key.data, _Worker):
                self._listen(key.data)
            else:
                self._heed()
        for number in [number for number, due in self._due.items() if due <= time.monotonic()]:
            del self._due[number]
            self._start(number)
        if self._renewal_wanted and self._was_ready and self._renewal is None and not self._stopping:
            self._renewal_wanted = False
            self._renew()

    def _patience(self) -> float | None:
        waits = [max(0.0, due - time.monotonic()) for due in self._due.values()]
        if not self._lines.flush():
            waits.append(_LINES_SECONDS)
        return min(waits, default=None)

    def _heed(self) -> None:
        for number in self._signals.recv(64):
            if number == signal.SIGHUP:
                self._renewal_wanted = True
            elif number in _SIGNALS:
                self._stop()

    # Workers

    def _start(self, number: int) -> None:
        ours, theirs = Channel.pair()
        # A signal to a process that is not yet itself would be heard by this one.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        pid = os.fork()
        if pid == 0:
            self._become(number, theirs, ours)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        theirs.close()
        worker = _Worker(number=number, pid=pid, channel=ours, config=self._config, started=time.monotonic())
        self._workers[number] = worker
        self._selector.register(ours, selectors.EVENT_READ, worker)

    def _become(self, number: int, channel: Channel, ours: Channel) -> NoReturn:
        """Be the worker, in the process that is new."""
        signal.set_wakeup_fd(-1)
        self._selector.close()
        self._signals.close()
        self._wakeup.close()
        for each in (ours, *(other.channel for other in self._workers.values())):
            each.close()
        work(number, self._config, self._reread, channel, self._places, turns=self._turns)

    def _listen(self, worker: _Worker) -> None:
        while worker.number in self._workers and (received := worker.channel.receive()) is not None:
            self._hear(worker, received[0])

    def _hear(self, worker: _Worker, message: Message) -> None:
        match message:
            case Ready():
                worker.is_ready = True
                self._welcome(worker)
            case Renewed(cause):
                self._renewed(worker, refused=bool(cause))
            case Failed(sentence):
                worker.sentence = sentence
            case Ended():
                self._bury(worker)

    def _welcome(self, worker: _Worker) -> None:
        if self._stopping:
            return
        if self._was_ready:
            _log.info("a worker is back", worker=worker.number)
            if worker.config is not self._config:
                self._tell_to_renew(worker)
        elif len(self._workers) == self._config.gateway.workers and all(w.is_ready for w in self._workers.values()):
            self._was_ready = True
            for line in (*self._places.lines(self._config, but=Places({})), "mailsluice ready"):
                self._lines.write(line)

    def _bury(self, worker: _Worker) -> None:
        self._selector.unregister(worker.channel)
        worker.channel.close()
        del self._workers[worker.number]
        _, status = os.waitpid(worker.pid, 0)
        cause = worker.sentence or _ending(os.waitstatus_to_exitcode(status))
        self._renewed(worker, refused=False)
        if self._failure:
            # All is said.
            return
        if self._stopping:
            # One that had not begun to take orders is ended by the signal.
            if status and (worker.is_ready or os.waitstatus_to_exitcode(status) != -signal.SIGTERM):
                self._in_order = False
                _log.error("a worker did not end in good order", worker=worker.number, cause=cause)
        elif not self._was_ready:
            self._failure = worker.sentence or f"worker {worker.number} {cause} before it was ready"
            self._stop()
        else:
            delay = self._delay(worker)
            self._due[worker.number] = time.monotonic() + delay
            _log.error(
                "alarm: a worker has ended; it is started again",
                worker=worker.number,
                cause=cause,
                delay_seconds=round(delay, 1),
            )

    def _delay(self, worker: _Worker) -> float:
        if time.monotonic() - worker.started > _SETTLED_SECONDS:
            self._delays.pop(worker.number, None)
        delay = min(_LONGEST_DELAY_SECONDS, 2 * self._delays.get(worker.number, _FIRST_DELAY_SECONDS / 2))
        self._delays[worker.number] = delay
        return delay

    def _stop(self) -> None:
        """Have all workers end, and nobody connect; once more, have them end at once."""
        if not self._stopping:
            self._stopping = True
            if not self._failure:
                _log.info("stopping", grace_seconds=self._config.gateway.drain_seconds)
            self._due.clear()
            self._places.release(but=Places({}))
        for worker in self._workers.values():
            worker.channel.send(Stop())
            if not worker.is_ready:
                # One that takes orders already ignores it; one that does not has taken no mail.
                os.kill(worker.pid, signal.SIGTERM)

    # Reloading

    def _renew(self) -> None:
        """Have the workers take the configuration that is there now, if it can be taken."""
        try:
            config = self._reread()
            check_same_process(self._config, config)
            places = Places.reserve(config, beside=self._places)
        except (ConfigError, StartError) as error:
            _log.error("alarm: the configuration was not reloaded; the old one stays", cause=str(error))
            return
        ready = [worker for worker in self._workers.values() if worker.is_ready]
        awaited = {worker.number for worker in ready}
        self._renewal = _Renewal(config=self._config, places=self._places, awaited=awaited, asked=len(ready))
        self._config, self._places = config, places
        for worker in ready:
            self._tell_to_renew(worker)

    def _tell_to_renew(self, worker: _Worker) -> None:
        worker.config = self._config
        worker.channel.send_places(self._places)
        worker.channel.send(Renew())

    def _renewed(self, worker: _Worker, *, refused: bool) -> None:
        renewal = self._renewal
        if renewal is None or worker.number not in renewal.awaited:
            return
        renewal.awaited.discard(worker.number)
        renewal.refused += refused
        if renewal.awaited:
            return
        self._renewal = None
        if renewal.refused == renewal.asked:
            # Each has said why.
            self._places.release(but=renewal.places)
            self._config, self._places = renewal.config, renewal.places
            return
        for line in self._places.lines(self._config, but=renewal.places):
            self._lines.write(line)
        renewal.places.release(but=self._places)
        if renewal.refused:
            _log.error("alarm: the configuration was not reloaded by every worker", refused=renewal.refused)
        else:
            _log.info("configuration reloaded")


def _ending(status: int) -> str:
    return f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
