"""The process that has several workers run as one gateway: it starts them, tells them what to do, and takes no mail.

It has neither threads nor an event loop, since it forks, also when everything is running: a worker that ends although
nobody has told it to is started again, on the spool that it has left. The workers share nothing but the addresses
where they listen and the stream that their log goes to.
"""

import math
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from typing import NoReturn

import structlog

from gateway.app.channel import Channel, Commit, Drop, Ended, Failed, Message, Prepare, Prepared, Ready, Renewed, Stop
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
# What a worker may take to end beyond the time for draining: its spool and its log are closed then.
_LATE_SECONDS = 5.0
# A connector has half of it to open.
_LONG_RELOAD_SECONDS = 60.0

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
    started: float
    is_ready: bool = False
    is_prepared: bool = False
    sentence: str = ""


@dataclass(slots=True, kw_only=True)
class _Renewal:
    """A reload under way, in two steps: every worker prepares it, then all of them take it, or none does.

    `config` is the new one; `places` are those that are not in effect: the new ones, and once it is taken the old ones.
    `awaited` are the workers whose answers to the step are, `causes` say which could not prepare it, and why.
    """

    config: Config
    places: Places
    awaited: set[int]
    causes: dict[int, str] = field(default_factory=dict)
    is_decided: bool = False
    # When it has taken so long that somebody should look.
    late_at: float = field(default_factory=lambda: time.monotonic() + _LONG_RELOAD_SECONDS)

    @property
    def is_taken(self) -> bool:
        return self.is_decided and not self.causes


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
        self._heard: set[int] = set()
        self._workers: dict[int, _Worker] = {}
        # When to start which worker, and the delay of the last time.
        self._due = dict.fromkeys(range(config.gateway.workers), 0.0)
        self._delays: dict[int, float] = {}
        self._was_ready = False
        self._stopping = False
        self._deadline = math.inf
        self._in_order = True
        self._failure = ""
        self._renewal_wanted = False
        self._renewal: _Renewal | None = None

    def run(self) -> bool:
        with self._hearing():
            while self._workers or self._due:
                self._turn()
        if self._failure:
            raise StartError(self._failure)
        _log.info("stopped")
        return self._in_order

    @contextmanager
    def _hearing(self) -> Iterator[None]:
        """Signals are noted, and wake the process as octets that can be waited for with everything else.

        What the octets say does not count: when many come at once some are lost.
        """
        self._signals.setblocking(False)
        self._wakeup.setblocking(False)
        self._selector.register(self._signals, selectors.EVENT_READ)
        signal.set_wakeup_fd(self._wakeup.fileno(), warn_on_full_buffer=False)
        # A parent may have left it ignored: then the system would tell nobody how a worker has ended.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for number in _SIGNALS:
            signal.signal(number, lambda number, _: self._heard.add(number))
        try:
            yield
        finally:
            signal.set_wakeup_fd(-1)

    def _turn(self) -> None:
        """Wait for what comes next, and do what is to be done about it."""
        ready = self._selector.select(self._patience())
        # First: who ends all processes of a service ends workers that are still starting, too.
        self._heed()
        for key, _ in ready:
            if isinstance(key.data, _Worker):
                self._listen(key.data)
        for number in [number for number, due in self._due.items() if due <= time.monotonic()]:
            if self._due.pop(number, None) is not None:
                self._start(number)
        if self._renewal_wanted and self._was_ready and self._renewal is None and not self._stopping:
            self._renewal_wanted = False
            self._renew()
        if self._renewal is not None and time.monotonic() > self._renewal.late_at:
            self._renewal.late_at = math.inf
            _log.error("alarm: a reload is still under way", processes=self._processes_of(self._renewal))
        if time.monotonic() > self._deadline:
            self._kill()

    def _patience(self) -> float | None:
        late_at = self._renewal.late_at if self._renewal is not None else math.inf
        moments = [*self._due.values(), self._deadline, late_at]
        waits = [max(0.0, moment - time.monotonic()) for moment in moments if moment < math.inf]
        if not self._lines.flush():
            waits.append(_LINES_SECONDS)
        return min(waits, default=None)

    def _heed(self) -> None:
        with suppress(BlockingIOError):
            while self._signals.recv(4096):
                pass
        heard, self._heard = self._heard, set()
        if signal.SIGHUP in heard:
            self._renewal_wanted = True
            if self._renewal is not None:
                awaited = self._processes_of(self._renewal)
                _log.warning("the last reload is still under way; this one comes after it", processes=awaited)
        if heard - {signal.SIGHUP}:
            self._stop()

    # Workers

    def _start(self, number: int) -> None:
        try:
            pid, channel = self._fork(number)
        except OSError as error:
            self._lost(number, f"cannot be started: {error.strerror}")
            return
        worker = _Worker(number=number, pid=pid, channel=channel, started=time.monotonic())
        self._workers[number] = worker
        self._selector.register(channel, selectors.EVENT_READ, worker)
        if self._renewal is not None and not self._renewal.is_decided:
            # It starts with the old configuration, and must not be left with that.
            self._renewal.awaited.add(number)

    def _fork(self, number: int) -> tuple[int, Channel]:
        ours, theirs = Channel.pair()
        # A signal to a process that is not yet itself would be heard by this one.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            pid = os.fork()
            if pid == 0:
                self._become(number, theirs, ours)
        except OSError:
            ours.close()
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            theirs.close()
        return pid, ours

    def _become(self, number: int, channel: Channel, ours: Channel) -> NoReturn:
        """Be the worker, in the process that is new."""
        signal.set_wakeup_fd(-1)
        self._selector.close()
        self._signals.close()
        self._wakeup.close()
        if self._renewal is not None:
            self._renewal.places.close(but=self._places)
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
            case Prepared():
                worker.is_prepared = True
                self._answered(worker)
            case Renewed(cause):
                self._answered(worker, cause)
            case Failed(sentence):
                worker.sentence = sentence
            case Ended():
                self._bury(worker)

    def _welcome(self, worker: _Worker) -> None:
        if self._stopping:
            return
        if self._was_ready:
            _log.info("a worker is back", worker=worker.number)
            if self._renewal is not None and not self._renewal.is_decided:
                self._tell_to_prepare(worker, self._renewal)
        elif len(self._workers) == self._config.gateway.workers and all(w.is_ready for w in self._workers.values()):
            self._was_ready = True
            for line in (*self._places.lines(self._config, but=Places({})), "mailsluice ready"):
                self._lines.write(line)

    def _bury(self, worker: _Worker) -> None:
        self._selector.unregister(worker.channel)
        worker.channel.close()
        del self._workers[worker.number]
        _, status = os.waitpid(worker.pid, 0)
        if time.monotonic() - worker.started > _SETTLED_SECONDS:
            self._delays.pop(worker.number, None)
        status = os.waitstatus_to_exitcode(status)
        # One that had not begun to take orders is ended by the signal.
        in_order = status == 0 or (status == -signal.SIGTERM and not worker.is_ready)
        if not (self._stopping and in_order):
            before = "" if worker.is_ready else " before it was ready"
            self._lost(worker.number, _ending(status) + before, worker.sentence)
        # Nobody knows yet of one that was still starting whether it could.
        self._answered(worker, f"worker {worker.number} {_ending(status)}" if worker.is_ready else "")

    def _lost(self, number: int, predicate: str, sentence: str = "") -> None:
        """A worker is not there that should be: what has happened to it, and what it has said itself."""
        cause = sentence or predicate
        if self._failure:
            # All is said.
            return
        if self._stopping:
            self._in_order = False
            _log.error("a worker did not end in good order", worker=number, cause=cause)
        elif not self._was_ready:
            self._failure = sentence or f"worker {number} {predicate}"
            self._stop()
        else:
            delay = min(_LONGEST_DELAY_SECONDS, 2 * self._delays.get(number, _FIRST_DELAY_SECONDS / 2))
            self._delays[number] = delay
            self._due[number] = time.monotonic() + delay
            _log.error(
                "alarm: a worker has ended; it is started again",
                worker=number,
                cause=cause,
                delay_seconds=round(delay, 1),
            )

    def _stop(self) -> None:
        """Have all workers end, and nobody connect; once more, have them end at once."""
        if not self._stopping:
            self._stopping = True
            if not self._failure:
                _log.info("stopping", grace_seconds=self._config.gateway.drain_seconds)
            self._due.clear()
            if self._renewal is not None:
                self._renewal.places.release(but=self._places)
                self._renewal = None
            self._places.release(but=Places({}))
            self._deadline = time.monotonic() + self._config.gateway.drain_seconds + _LATE_SECONDS
        for worker in self._workers.values():
            worker.channel.send(Stop())
            if not worker.is_ready:
                # One that takes orders already ignores it; one that does not has taken no mail.
                os.kill(worker.pid, signal.SIGTERM)

    def _kill(self) -> None:
        """Wait no longer for who does not end."""
        self._deadline = math.inf
        for worker in self._workers.values():
            worker.sentence = "it did not end in time, and was killed"
            os.kill(worker.pid, signal.SIGKILL)

    # Reloading

    def _renew(self) -> None:
        """Have the workers take the configuration that is there now, if all of them can."""
        try:
            config = self._reread()
            check_same_process(self._config, config)
            places = Places.reserve(config, beside=self._places)
        except (ConfigError, StartError) as error:
            _refuse(str(error))
            return
        self._renewal = _Renewal(config=config, places=places, awaited=set(self._workers))
        for worker in self._workers.values():
            if worker.is_ready:
                self._tell_to_prepare(worker, self._renewal)
        self._go_on(self._renewal)

    def _tell_to_prepare(self, worker: _Worker, renewal: _Renewal) -> None:
        worker.channel.send_places(renewal.places)
        worker.channel.send(Prepare(renewal.config.digest))

    def _answered(self, worker: _Worker, cause: str = "") -> None:
        """There is nothing more to wait for from this one at this step, which it could not do for the `cause`."""
        renewal = self._renewal
        if renewal is None or worker.number not in renewal.awaited:
            return
        renewal.awaited.remove(worker.number)
        if cause and not renewal.is_decided:
            renewal.causes[worker.number] = cause
        self._go_on(renewal)

    def _processes_of(self, renewal: _Renewal) -> dict[int, int]:
        """Those whose answers are awaited."""
        return {number: self._workers[number].pid for number in sorted(renewal.awaited)}

    def _go_on(self, renewal: _Renewal) -> None:
        if not renewal.awaited and not renewal.is_decided:
            self._decide(renewal)
        if not renewal.awaited:
            self._conclude(renewal)

    def _decide(self, renewal: _Renewal) -> None:
        """Have all take the new configuration, or none; who starts from now on has what was decided."""
        renewal.is_decided = True
        if renewal.is_taken:
            self._config = renewal.config
            self._places, renewal.places = renewal.places, self._places
        for worker in self._workers.values():
            if worker.is_prepared:
                worker.is_prepared = False
                renewal.awaited.add(worker.number)
                worker.channel.send(Commit() if renewal.is_taken else Drop())

    def _conclude(self, renewal: _Renewal) -> None:
        """The end of a reload: all have done what was decided."""
        self._renewal = None
        renewal.places.release(but=self._places)
        if renewal.causes:
            _refuse("; ".join(dict.fromkeys(renewal.causes.values())), workers=sorted(renewal.causes))
            return
        for line in self._places.lines(self._config, but=renewal.places):
            self._lines.write(line)
        _log.info("configuration reloaded")


def _refuse(cause: str, **who: list[int]) -> None:
    _log.error("alarm: the configuration was not reloaded; the old one stays", cause=cause, **who)


def _ending(status: int) -> str:
    return f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
