"""The spool against a model of it that fits on a page, over crashes, restarts and another process that changes it."""

import asyncio
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.spool import Entry, Spool, State
from tests.spool.spools import LARGE, mail_of, new, rows, settled

CONNECTORS = ["a", "b"]
KEYS = [None, None, b"k", b"l"]
NOW = 1_800_000_000.0


@dataclass
class Delivery:
    id: str
    connector: str
    key: bytes | None
    number: int
    state: str = "waiting"
    attempts: int = 0
    possible_duplicate: bool = False


@dataclass
class Model:
    deliveries: list[Delivery] = field(default_factory=list)

    def behind(self, one: Delivery) -> bool:
        return one.key is not None and any(
            (other.connector, other.key) == (one.connector, one.key)
            and other.number < one.number
            and other.state in {"waiting", "attempted"}
            for other in self.deliveries
        )

    def due(self, connector: str) -> set[str]:
        return {
            each.id
            for each in self.deliveries
            if each.connector == connector and each.state == "waiting" and not self.behind(each)
        }

    def find(self, entry: Entry) -> Delivery:
        (found,) = [
            each for each in self.deliveries if (each.id, each.connector) == (entry.mail.envelope.id, entry.connector)
        ]
        return found


class SpoolMachine(RuleBasedStateMachine):
    """Runs the spool in a loop of its own, a step at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = Path(tempfile.mkdtemp(prefix="mailsluice-"))
        self.directory = self.folder / "0"
        self.restarts = 0
        self.model = Model()
        self.contents: dict[str, bytes] = {}
        self.under_way: list[Entry] = []
        self.spool = self.runner.run(self.opened())

    async def opened(self) -> Spool:
        spool = Spool.open(self.directory)
        await spool.recover(NOW)
        return spool

    @rule(
        keys=st.lists(st.sampled_from(KEYS), min_size=1, max_size=4),
        connectors=st.sampled_from([["a"], ["b"], ["a", "b"]]),
        large=st.booleans(),
        attempted=st.booleans(),
    )
    def add(self, keys, connectors, large, attempted):
        for key in keys:
            mail = mail_of(bytes(LARGE) if large else b"%d" % len(self.contents))
            id_ = mail.envelope.id
            attempted_here = attempted and not large
            message = new(mail, *connectors, ordering_key=key, attempted=attempted_here)
            entries = self.runner.run(self.spool.add(message))
            self.contents[id_] = mail.content.read()
            number = len(self.contents)
            begun = set()
            for connector in connectors:
                delivery = Delivery(id_, connector, key, number)
                self.model.deliveries.append(delivery)
                if attempted_here and not self.model.behind(delivery):
                    delivery.state, delivery.attempts = "attempted", 1
                    begun.add(connector)
            assert {entry.connector for entry in entries} == begun
            self.under_way += entries

    @rule(connector=st.sampled_from(CONNECTORS), limit=st.integers(1, 5))
    def claim(self, connector, limit):
        due = self.model.due(connector)
        claim = self.runner.run(self.spool.claim(connector, now=NOW * 2, limit=limit, octets=1 << 30))
        assert claim.damaged == ()
        assert len(claim.entries) == min(limit, len(due))
        for entry in claim.entries:
            delivery = self.model.find(entry)
            assert delivery.id in due
            assert entry.mail.content.read() == self.contents[delivery.id]
            entry.mail.content.close()
            delivery.state = "attempted"
            delivery.attempts += 1
            assert entry.attempts == delivery.attempts
            assert entry.possible_duplicate == delivery.possible_duplicate
            self.under_way.append(entry)

    @precondition(lambda self: self.under_way)
    @rule(
        state=st.sampled_from([State.DELIVERED, State.DELIVERED, State.WAITING, State.DEAD]),
        which=st.integers(0, 99),
        twice=st.booleans(),
    )
    def settle(self, state, which, twice):
        entry = self.under_way.pop(which % len(self.under_way))
        delivery = self.model.find(entry)
        settlement = settled(entry, state, due=NOW, possible_duplicate=delivery.possible_duplicate)
        for _ in range(1 + twice):
            self.runner.run(self.spool.settle(settlement))
        if state is State.DELIVERED:
            self.model.deliveries.remove(delivery)
        else:
            delivery.state = str(state)

    @rule(killed=st.booleans())
    def restart(self, killed):
        """In order, or from what a crash would have left."""
        self.restarts += 1
        if killed:
            self.directory = shutil.copytree(self.directory, self.folder / str(self.restarts))
        self.runner.run(self.spool.close())
        if not killed:
            assert not (self.directory / "spool.db-wal").exists()
        self.spool = self.runner.run(self.opened())
        self.under_way.clear()
        for delivery in self.model.deliveries:
            if delivery.state == "attempted":
                delivery.state, delivery.possible_duplicate = "waiting", True

    @rule()
    def retry_dead_letters_from_another_process(self):
        rows(self.directory, "UPDATE delivery SET state = 'waiting', due = 0 WHERE state = 'dead'")
        for delivery in self.model.deliveries:
            if delivery.state == "dead":
                # It has lost its place in the order.
                delivery.state, delivery.key = "waiting", None

    @invariant()
    def the_rows_are_those_of_the_model(self):
        found = rows(
            self.directory, "SELECT id, connector, state, attempts FROM delivery JOIN message ON message = number"
        )
        expected = [
            (
                each.id,
                each.connector,
                "behind" if each.state == "waiting" and self.model.behind(each) else each.state,
                each.attempts,
            )
            for each in self.model.deliveries
        ]
        assert sorted(found) == sorted(expected)
        ids = {each.id for each in self.model.deliveries}
        files = {path.name for path in (self.directory / "content").iterdir()}
        assert files == {id_ for id_ in ids if len(self.contents[id_]) == LARGE}

    def teardown(self):
        self.runner.run(self.spool.close())
        self.runner.close()
        shutil.rmtree(self.folder)


TestSpoolAgainstItsModel = SpoolMachine.TestCase
TestSpoolAgainstItsModel.settings = settings(max_examples=12, stateful_step_count=20)
