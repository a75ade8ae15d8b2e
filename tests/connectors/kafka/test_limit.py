import asyncio

import pytest

from connectors.kafka.limit import Limit


def limited(seconds):
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    return future, Limit(future, loop.time() + seconds)


async def test_the_future_fails_at_the_moment_and_not_before():
    began = asyncio.get_running_loop().time()
    future, limit = limited(0.05)
    with pytest.raises(TimeoutError):
        await future
    assert asyncio.get_running_loop().time() - began > 0.04
    assert limit.expired()


async def test_a_moment_that_has_passed_is_now():
    future, _ = limited(-1)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(future, 1)


async def test_another_moment_counts_instead():
    loop = asyncio.get_running_loop()
    future, limit = limited(60)
    limit.reschedule(loop.time() + 0.01)
    assert limit.when() < loop.time() + 1
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(future, 1)
    later, limit = limited(0.01)
    limit.reschedule(loop.time() + 60)
    await asyncio.sleep(0.05)
    assert not later.done()
    limit.lift()


async def test_a_future_that_is_done_or_has_no_limit_any_more_is_left_alone():
    answered, _ = limited(0.01)
    answered.set_result("answer")
    cancelled, _ = limited(0.01)
    cancelled.cancel()
    lifted, limit = limited(0.01)
    limit.lift()
    await asyncio.sleep(0.05)
    assert (await answered, cancelled.cancelled(), lifted.done()) == ("answer", True, False)
