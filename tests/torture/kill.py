"""Kill -9 at random moments, under load: a gateway, its sinks, its clients, and the verdict on all of it.

    verdict = run("directory spooled", folder, seed="7", cycles=100)
    assert verdict.is_clean, verdict

A cycle starts the gateway, sends from several connections at once, and kills it while they send, or now and then while
it still starts, or once all is delivered and settled; a kill of that last kind explains no duplicate. In "one of two
workers spooled" a single process is killed before that: a worker, which comes back under load, or the supervisor. The
seed gives the mails and the moments; what the machine does in between it cannot give, so that a seed that failed is to
be tried more than once. A trial's disk space grows with each cycle: many cycles are many trials.
"""

import os
import random
import signal
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Self, TypeVar

from tests.end_to_end.gateway import Gateway
from tests.servers.kafka import KafkaCluster
from tests.servers.s3 import S3Server
from tests.torture.clients import Load
from tests.torture.gateway import SpoolView, children, configuration, open_leftovers
from tests.torture.journal import Journal, read
from tests.torture.oracle import Route, Verdict, judge
from tests.torture.sinks import DirectorySink, HttpSink, KafkaSink, S3Sink, Sink
from tests.torture.workload import SIZES, Sizes, Traffic, mails

__all__ = ["TRIALS", "Servers", "Trial", "run", "trying"]

ServerT = TypeVar("ServerT")

# How many at once; one of these in each load.
_CONNECTIONS = (1, 4, 4, 16)
_LONGEST_LOAD_SECONDS = 0.3
_KILLED_AT_START = 0.1
_LONGEST_START_SECONDS = 0.6
_KILLED_AT_REST = 0.1
# What can have been delivered and not be settled when a kill comes: the mails that the HTTP connector has under way.
# Kafka's has more, but so many mails do not come from one kill to the next.
_UNDER_WAY = 64 + max(_CONNECTIONS)

# By name: which sinks a mail goes to, and when it is acknowledged.
TRIALS: Mapping[str, Route] = {
    "directory delivered": Route(("archive",), "delivered"),
    "directory spooled": Route(("archive",), "spooled"),
    "http spooled": Route(("consumer",), "spooled"),
    "http delivered": Route(("consumer",), "delivered"),
    "s3 spooled": Route(("objects",), "spooled"),
    "s3 delivered": Route(("objects",), "delivered"),
    "kafka spooled": Route(("events",), "spooled"),
    "kafka delivered": Route(("events",), "delivered"),
    "several spooled": Route(("archive", "consumer"), "spooled"),
    "several delivered": Route(("archive", "consumer"), "delivered"),
    "two workers spooled": Route(("archive",), "spooled"),
    "one of two workers spooled": Route(("archive",), "spooled"),
}
_WORKERS: Mapping[str, int] = {"two workers spooled": 2, "one of two workers spooled": 2}
_ONE_FIRST = "one of two workers spooled"
# What is to be said of a process that was killed by itself.
_SAID_OF_ONE = ("alarm: a worker has ended; it is started again", "the supervisor is gone, and so this worker ends")


@dataclass(frozen=True, slots=True, kw_only=True)
class Servers:
    """The servers that some trials need; None for one that none of the chosen trials does."""

    s3: S3Server | None = None
    kafka: KafkaCluster | None = None


def run(
    name: str, folder: Path, *, seed: str, cycles: int, servers: Servers | None = None, sizes: Sizes = SIZES
) -> Verdict:
    """The verdict after so many kills. Raises AssertionError where the gateway fails in another way."""
    with trying(name, folder, seed=seed, servers=servers, sizes=sizes) as trial:
        for _ in range(cycles):
            trial.cycle()
        return trial.finish()


@contextmanager
def trying(
    name: str, folder: Path, *, seed: str, servers: Servers | None = None, sizes: Sizes = SIZES
) -> Iterator["Trial"]:
    """A trial of `TRIALS`, with its files in `folder`, which has to be empty. The seed has no spaces in it."""
    route = TRIALS[name]
    with ExitStack() as running:
        sinks: list[Sink] = []
        for sink in route.sinks:
            match sink:
                case "archive":
                    sinks.append(DirectorySink(folder / "mail"))
                case "consumer":
                    sinks.append(running.enter_context(HttpSink(folder)))
                case "objects":
                    sinks.append(S3Sink(_running(servers and servers.s3)))
                case "events":
                    topic = f"torture-{seed}-{name.replace(' ', '-')}"
                    sinks.append(KafkaSink(_running(servers and servers.kafka), topic))
        traffic = Traffic(sizes=SIZES if "events" in route.sinks else sizes)  # a record has its limits
        routes, workers = {"example.org": route}, _WORKERS.get(name, 1)
        one_first = name == _ONE_FIRST
        yield running.enter_context(
            Trial(folder, sinks, routes, seed=seed, traffic=traffic, workers=workers, one_first=one_first)
        )


def _running(server: ServerT | None) -> ServerT:
    if server is None:
        raise ValueError("this trial needs a server that is not given")
    return server


class Trial:
    """One gateway with its sinks, for any number of cycles and one verdict."""

    def __init__(
        self,
        folder: Path,
        sinks: Iterable[Sink],
        routes: Mapping[str, Route],
        *,
        seed: str,
        traffic: Traffic,
        workers: int = 1,
        one_first: bool = False,
    ) -> None:
        self._kills: list[float] = []
        self._loads = count()
        self._connections = 0
        self._sinks = tuple(sinks)
        self._routes = routes
        self._seed = seed
        self._traffic = traffic
        self._one_first = one_first
        self._moments = random.Random(seed)
        self._journal_path = folder / "journal"
        self._journal = Journal(self._journal_path)
        self._spool = SpoolView(folder / "spool")
        self._gateway = Gateway(folder, configuration(self._sinks, routes, workers=workers))
        self._is_launched = False
        self._errors: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._journal.close()
        if self._is_launched and self._gateway.running:
            self._gateway.kill()

    def cycle(self) -> None:
        """Start the gateway, and kill it. Raises AssertionError where it ends, or ends a connection, before that."""
        self._gateway.launch()
        self._is_launched = True
        if self._moments.random() < _KILLED_AT_START:
            time.sleep(self._moments.uniform(0, _LONGEST_START_SECONDS))
            self._kill()
            return
        self._gateway.wait_until_ready()
        if self._one_first:
            with self._load() as load:
                time.sleep(self._moments.uniform(0, _LONGEST_LOAD_SECONDS))
                self._assert_all_send(load)
                self._kill_one()
        if not self._one_first and self._moments.random() < _KILLED_AT_REST:
            self._kill_at_rest()
            return
        with self._load() as load:
            time.sleep(self._moments.uniform(0, _LONGEST_LOAD_SECONDS))
            if not self._one_first:
                self._assert_all_send(load)
            self._kill()

    def _load(self) -> Load:
        name = f"{self._seed}.{next(self._loads)}"
        self._connections = self._moments.choice(_CONNECTIONS)
        streams = [mails(f"{name}.{number}", self._traffic) for number in range(self._connections)]
        return Load(self._gateway.addresses, self._journal, streams)

    def _assert_all_send(self, load: Load) -> None:
        assert load.running == self._connections, (
            f"the gateway closed a connection ({self._seed}):\n{self._gateway.log}"
        )

    def finish(self) -> Verdict:
        """Start the gateway once more, let it deliver everything, end it in order, and judge."""
        self._gateway.start()
        self._is_launched = True
        self._spool.wait_until_drained(self._gateway)
        leftovers = open_leftovers(self._gateway)
        if (status := self._gateway.stop()) != 0:
            leftovers.append(f"the gateway ended with status {status}")
        self._note_errors()
        # At each kill every connection may have had a mail in hand.
        leftovers += self._spool.leftovers(orphans=max(_CONNECTIONS) * len(self._kills))
        return judge(
            read(self._journal_path),
            {sink.name: sink.delivered() for sink in self._sinks},
            self._routes,
            faults=self._kills,
            at_each=_UNDER_WAY,
            dead=self._spool.dead(),
            leftovers=[*leftovers, *self._errors, *(problem for sink in self._sinks for problem in sink.problems())],
        )

    def _kill_one(self) -> None:
        """The supervisor, or one of the workers."""
        victim = self._moments.choice([self._gateway.pid, *children(self._gateway.pid)])
        self._kills.append(time.time())
        os.kill(victim, signal.SIGKILL)

    def _kill_at_rest(self) -> None:
        """What was settled never comes again, so that this kill explains nothing."""
        with self._load():
            time.sleep(self._moments.uniform(0, _LONGEST_LOAD_SECONDS))
        self._spool.wait_until_drained(self._gateway)
        self._gateway.kill()
        self._note_errors()

    def _kill(self) -> None:
        self._kills.append(time.time())
        self._gateway.kill()
        self._note_errors()

    def _note_errors(self) -> None:
        said = self._gateway.log.splitlines()
        errors = [line for line in said if '"level": "error"' in line or line.startswith("Traceback")]
        expected = _SAID_OF_ONE if self._one_first else ()
        self._errors += [line for line in errors if not any(f'"event": "{event}"' in line for event in expected)]
