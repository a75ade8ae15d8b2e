"""Destinations that take a spooled mail for some of its recipients: nobody is lost, and nobody has it twice."""

import asyncio
import shutil
import tempfile
from collections import Counter
from pathlib import Path

import msgspec
import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from gateway.address import Address
from gateway.connector import PermanentFailure, RetrySchedule, TransientFailure
from gateway.delivery import Notices
from gateway.delivery.shares import together
from gateway.envelope import Mail, Parameter, Recipient
from gateway.spool import Spool, State
from gateway.status import Status
from gateway.testing import MemoryConnector
from tests.delivery.rig import AT_ONCE, Rig, fresh

FULL = TransientFailure(Status(4, 2, 2), "mailbox full", cause="452 mailbox full")
UNKNOWN = PermanentFailure(Status(5, 1, 1), "no such user", cause="550 unknown")
TOO_LARGE = PermanentFailure(Status(5, 2, 3), "too large for this mailbox", cause="552 too large")


def mail_to(*names, octets=b"Subject: x\r\n\r\nx\r\n", parameters=()):
    mail = fresh(octets)
    recipients = tuple(
        Recipient(address=Address(raw=f"{name}@x", local_part=name, domain="x"), parameters=parameters)
        for name in names
    )
    transaction = structs.replace(mail.envelope.envelope, recipients=recipients)
    return Mail(structs.replace(mail.envelope, envelope=transaction), mail.content)


class Server(MemoryConnector):
    """Answers each recipient by its own list, one answer for each attempt, and then takes the mail."""

    def __init__(self, answers):
        super().__init__("one")
        self.answers = {address: list(some) for address, some in answers.items()}
        self.taken = Counter()
        self.asked = []

    async def emit(self, mail):
        addresses = [each.address.raw for each in mail.envelope.envelope.recipients]
        self.asked.append(addresses)
        self.refused = {each: self.answers[each].pop(0) for each in addresses if self.answers.get(each)}
        receipt = await super().emit(mail)
        self.taken.update(each for each in addresses if each not in self.refused)
        return receipt


def rig_of(folder, server, retries=AT_ONCE):
    return Rig(folder=folder / "spool", connectors={"one": server}, retries=retries)


def states(rig):
    """Where each recipient stands in the spool, by position."""
    found = {}
    for state, recipients in rig.rows("state, recipients"):
        for position in msgspec.json.decode(recipients):
            assert position not in found
            found[position] = state
    return found


async def test_only_those_who_were_refused_for_the_time_being_are_asked_about_again(tmp_path):
    server = Server({"b@x": [FULL, FULL], "c@x": [UNKNOWN]})
    rig = rig_of(tmp_path, server)
    async with rig.running() as engine:
        await engine.accept(mail_to("a", "b", "c"), {"one": (0, 1, 2)})
        await rig.until(lambda: states(rig) == {2: "dead"})
    assert server.asked == [["a@x", "b@x", "c@x"], ["b@x"], ["b@x"]]
    assert server.taken == {"a@x": 1, "b@x": 1}
    assert rig.rows("state, attempts, status, cause") == [("dead", 1, "5.1.1", "550 unknown")]


async def test_positions_are_those_of_the_message(tmp_path):
    server = Server({"c@x": [FULL, UNKNOWN], "e@x": [UNKNOWN]})
    rig = rig_of(tmp_path, server)
    async with rig.running() as engine:
        await engine.accept(mail_to("a", "b", "c", "d", "e"), {"one": (2, 3, 4)})
        await rig.until(lambda: states(rig) == {2: "dead", 4: "dead"})
    assert server.asked == [["c@x", "d@x", "e@x"], ["c@x"]]


async def test_when_the_schedule_ends_all_who_are_left_are_one_dead_letter(tmp_path):
    server = Server({"b@x": [FULL, FULL], "c@x": [UNKNOWN], "d@x": [FULL, FULL]})
    rig = rig_of(tmp_path, server, RetrySchedule(delays_seconds=(0.001,), for_ever=False))
    async with rig.running() as engine:
        await engine.accept(mail_to("a", "b", "c", "d"), {"one": (0, 1, 2, 3)})
        await rig.until(lambda: set(states(rig).values()) == {"dead"})
    assert rig.rows("recipients, attempts, status") == [("[1,3]", 2, "4.2.2"), ("[2]", 1, "5.1.1")]


async def test_different_reasons_are_all_named(tmp_path):
    server = Server({"b@x": [UNKNOWN], "c@x": [TOO_LARGE], "d@x": [UNKNOWN]})
    rig = rig_of(tmp_path, server)
    async with rig.running() as engine:
        await engine.accept(mail_to("a", "b", "c", "d"), {"one": (0, 1, 2, 3)})
        await rig.until(lambda: set(states(rig).values()) == {"dead"})
    expected = "5.1.1 550 unknown (2); 5.2.3 552 too large (1)"
    assert rig.rows("recipients, status, cause") == [("[1,2,3]", "5.1.1", expected)]


def test_however_many_reasons_there_are_few_are_named_and_the_others_counted():
    failures = [PermanentFailure(Status(5, 1, 1), "no", cause=f"550 {number}") for number in range(1000)]
    assert together(failures).cause.endswith("5.1.1 550 4 (1); and 995 other failures")


async def test_the_log_has_a_line_for_each_share(tmp_path):
    server = Server({"b@x": [FULL], "c@x": [UNKNOWN]})
    rig = rig_of(tmp_path, server)
    with structlog.testing.capture_logs() as logs:
        async with rig.running() as engine:
            await engine.accept(mail_to("a", "b", "c", "d"), {"one": (0, 1, 2, 3)})
            await rig.until(lambda: states(rig) == {2: "dead"})
    assert [(line["event"], line["recipients"], line["attempt"]) for line in logs] == [
        ("delivered", 2, 1),
        ("alarm: dead letter", 1, 1),
        ("put off", 1, 1),
        ("delivered", 1, 2),
    ]


async def test_a_destination_that_takes_a_mail_for_some_is_not_suspected(tmp_path):
    server = Server({"b@x": [FULL] * 20})
    rig = rig_of(tmp_path, server)
    with structlog.testing.capture_logs() as logs:
        async with rig.running() as engine:
            for _ in range(20):
                server.answers["b@x"] = [FULL]
                await engine.accept(mail_to("a", "b"), {"one": (0, 1)})
                await rig.settled()
    assert not [line for line in logs if line["event"].startswith("alarm")]


async def test_each_originator_is_told_once_and_of_its_own_recipients(tmp_path):
    server = Server({"b@x": [FULL], "c@x": [UNKNOWN], "d@x": [TOO_LARGE]})
    back = MemoryConnector("back")
    rig = Rig(folder=tmp_path / "spool", connectors={"one": server, "back": back})
    notices = Notices(hostname="mx.example.org", via=lambda address: "back" if address.domain == "x" else "")
    mail = mail_to("a", "b", "c", "d", parameters=(Parameter(keyword="NOTIFY", value="SUCCESS,FAILURE"),))
    async with rig.running() as engine:
        await engine.assign(rig.destinations, notices)
        await engine.accept(mail, {"one": (0, 1, 2, 3)})
        await rig.until(lambda: len(back.mails) == 3)
        await rig.until(lambda: states(rig) == {2: "dead", 3: "dead"})
    told = [each.content.read() for each in back.mails.values()]
    found = sorted(
        [line.split(b"; ")[-1] for line in octets.splitlines() if line.startswith((b"Final-R", b"Action", b"Diagnos"))]
        for octets in told
    )
    assert found == [
        [b"a@x", b"Action: relayed"],
        [b"b@x", b"Action: relayed"],
        [b"c@x", b"Action: failed", b"no such user", b"d@x", b"Action: failed", b"too large for this mailbox"],
    ]


async def test_an_originator_whom_the_destination_tells_is_not_told_by_us(tmp_path):
    class Notifying(MemoryConnector):
        async def emit(self, mail):
            return structs.replace(await super().emit(mail), notifying=(0, 2))

    back = MemoryConnector("back")
    rig = Rig(folder=tmp_path / "spool", connectors={"one": Notifying("one"), "back": back})
    notices = Notices(hostname="mx.example.org", via=lambda address: "back" if address.domain == "x" else "")
    async with rig.running() as engine:
        await engine.assign(rig.destinations, notices)
        mail = mail_to("a", "b", "c", parameters=(Parameter(keyword="NOTIFY", value="SUCCESS"),))
        await engine.accept(mail, {"one": (0, 1, 2)})
        await rig.settled()
    (told,) = [each.content.read() for each in back.mails.values()]
    assert b"b@x" in told
    assert b"a@x" not in told


@pytest.mark.parametrize("octets", [b"small\r\n", b"large\r\n" * 20_000], ids=["in a row", "in a file"])
async def test_a_dead_letter_that_is_tried_again_is_delivered_beside_those_who_still_wait(tmp_path, octets):
    server = Server({"b@x": [FULL], "c@x": [UNKNOWN, FULL], "d@x": [FULL, FULL]})
    rig = rig_of(tmp_path, server, RetrySchedule(delays_seconds=(0.001,), for_ever=True))
    async with rig.running() as engine:
        await engine.accept(mail_to("a", "b", "c", "d", octets=octets), {"one": (0, 1, 2, 3)})
        await rig.until(lambda: states(rig) == {2: "dead"})
        assert server.taken == {"a@x": 1, "b@x": 1, "d@x": 1}
        rig.ask("UPDATE delivery SET state = 'waiting', due = 0, attempts = 0 WHERE state = 'dead'")
        await rig.settled()
    assert server.taken == {"a@x": 1, "b@x": 1, "c@x": 1, "d@x": 1}
    assert rig.rows("*", "message") == []
    assert list((tmp_path / "spool" / "content").iterdir()) == []


async def test_a_crash_at_either_side_of_the_commit_loses_nobody_and_repeats_no_one_who_is_settled(
    tmp_path, monkeypatch
):
    settle = Spool.settle
    moments = []

    async def watched(self, settlement, **options):
        moments.append((shutil.copytree(tmp_path / "spool", tmp_path / f"{len(moments)}"), Counter(server.taken)))
        await settle(self, settlement, **options)
        moments.append((shutil.copytree(tmp_path / "spool", tmp_path / f"{len(moments)}"), Counter(server.taken)))

    monkeypatch.setattr(Spool, "settle", watched)
    server = Server({"b@x": [FULL], "c@x": [UNKNOWN], "d@x": [FULL, UNKNOWN]})
    rig = rig_of(tmp_path, server)
    async with rig.running() as engine:
        await engine.accept(mail_to("a", "b", "c", "d"), {"one": (0, 1, 2, 3)})
        await rig.until(lambda: states(rig) == {2: "dead", 3: "dead"})
    monkeypatch.undo()
    assert len(moments) == 4
    for number, (folder, before) in enumerate(moments):
        again = Server({"c@x": [UNKNOWN], "d@x": [UNKNOWN]})
        after_crash = Rig(folder=folder, connectors={"one": again})
        async with after_crash.running():
            await after_crash.until(lambda rig=after_crash: set(states(rig).values()) == {"dead"})
        assert states(after_crash) == {2: "dead", 3: "dead"}
        total = before + again.taken
        settled = number % 2 == 1
        assert set(total) == {"a@x", "b@x"}
        # What was said and not recorded is a possible duplicate; what was recorded never is one.
        assert not settled or max(total.values()) == 1, (number, total)


ANSWERS = st.lists(st.sampled_from([FULL, FULL, UNKNOWN, TOO_LARGE]), max_size=4)


@given(answers=st.lists(ANSWERS, min_size=1, max_size=6), attempts=st.integers(0, 4), stops=st.integers(0, 3))
@settings(max_examples=25, deadline=None)
def test_everyone_is_delivered_or_dead_or_waiting_whatever_a_destination_says(answers, attempts, stops):
    names = [f"r{number}" for number in range(len(answers))]
    server = Server({f"{name}@x": some for name, some in zip(names, answers, strict=True)})

    def check(rig):
        found = states(rig)
        for position, name in enumerate(names):
            assert server.taken[f"{name}@x"] + (position in found) == 1, (name, server.taken, found)
        return found

    async def run(folder):
        rig = rig_of(folder, server, RetrySchedule(delays_seconds=(0.001,) * attempts, for_ever=False))
        async with rig.running() as engine:
            await engine.accept(mail_to(*names), {"one": tuple(range(len(names)))})
        for _ in range(stops):
            check(rig)
            async with rig.running():
                await asyncio.sleep(0)
        check(rig)
        async with rig.running():
            await rig.until(lambda: set(states(rig).values()) <= {State.DEAD})
        return check(rig)

    with tempfile.TemporaryDirectory() as folder:
        dead = asyncio.run(run(Path(folder)))
    for position, name in enumerate(names):
        if not answers[position]:
            assert position not in dead, name
