import asyncio

import pytest

from connectors.kafka.attempt import SharedAttempt
from gateway.connector import PermanentFailure, TransientFailure
from gateway.status import DESTINATION_UNREACHABLE, Status

DOWN = TransientFailure(DESTINATION_UNREACHABLE, "down", cause="no route")


class Maker:
    """Makes what it is told to, once it is released, and counts."""

    def __init__(self, *outcomes):
        self.outcomes = list(outcomes)
        self.made = 0
        self.released = asyncio.Event()
        self.released.set()

    async def __call__(self):
        self.made += 1
        await self.released.wait()
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


@pytest.fixture
async def clock(monkeypatch):
    """A loop whose time goes on when told."""

    class Clock:
        now = 1000.0

    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: Clock.now)
    return Clock


async def test_all_who_ask_share_one_attempt_and_what_it_made_is_kept():
    maker = Maker("session")
    maker.released.clear()
    attempt = SharedAttempt(maker)
    asking = [asyncio.create_task(attempt.result()) for _ in range(10)]
    await asyncio.sleep(0)
    maker.released.set()
    assert await asyncio.gather(*asking) == ["session"] * 10
    assert await attempt.result() == "session"
    assert maker.made == 1


async def test_one_who_gives_up_does_not_end_the_attempt_of_the_others():
    maker = Maker("session")
    maker.released.clear()
    attempt = SharedAttempt(maker)
    first, second = asyncio.create_task(attempt.result()), asyncio.create_task(attempt.result())
    await asyncio.sleep(0)
    first.cancel()
    maker.released.set()
    assert await second == "session"
    assert first.cancelled()


async def test_a_failure_is_told_to_all_until_the_pause_is_over_and_the_pause_grows(clock):
    maker = Maker(DOWN, DOWN, "session")
    attempt = SharedAttempt(maker)
    for made, pause in ((1, 0.5), (2, 1.0)):
        for _ in range(3):
            with pytest.raises(TransientFailure, match="no route"):
                await attempt.result()
        assert maker.made == made
        clock.now += pause
    assert await attempt.result() == "session"


async def test_the_pause_has_an_end(clock):
    maker = Maker(*[DOWN] * 20)
    attempt = SharedAttempt(maker)
    for _ in range(20):
        with pytest.raises(TransientFailure):
            await attempt.result()
        clock.now += 10.0
    assert maker.made == 20


async def test_the_failure_that_is_told_is_the_one_that_was_raised():
    attempt = SharedAttempt(Maker(PermanentFailure(Status(5, 3, 5), "unusable", cause="no file")))
    with pytest.raises(PermanentFailure) as caught:
        await attempt.result()
    assert (caught.value.status, caught.value.text, caught.value.cause) == (Status(5, 3, 5), "unusable", "no file")


async def test_what_is_forgotten_is_made_anew_and_only_what_was_made_can_be_forgotten():
    maker = Maker("one", "two")
    attempt = SharedAttempt(maker)
    assert await attempt.result() == "one"
    attempt.forget("two")
    assert await attempt.result() == "one"
    attempt.forget("one")
    assert await attempt.result() == "two"


async def test_what_was_made_is_there_at_once_until_it_is_forgotten(clock):
    maker = Maker(DOWN, "one", "two")
    attempt = SharedAttempt(maker)
    assert attempt.made() is None
    with pytest.raises(TransientFailure):
        await attempt.result()
    assert attempt.made() is None
    clock.now += 0.5
    await attempt.result()
    assert attempt.made() == "one"
    attempt.forget("one")
    assert attempt.made() is None
    await attempt.result()
    assert attempt.made() == "two"
    await attempt.stop()
    assert attempt.made() is None


async def test_who_waits_when_the_gateway_stops_gets_a_transient_failure():
    maker = Maker()
    maker.released.clear()
    attempt = SharedAttempt(maker)
    asking = asyncio.create_task(attempt.result())
    await asyncio.sleep(0)
    await attempt.stop()
    with pytest.raises(TransientFailure):
        await asking
    with pytest.raises(TransientFailure):
        await attempt.result()


async def test_a_failure_that_nobody_waits_for_is_no_complaint():
    attempt = SharedAttempt(Maker(DOWN))
    asking = asyncio.create_task(attempt.result())
    await asyncio.sleep(0)
    asking.cancel()
    await asyncio.sleep(0)
    await attempt.stop()
