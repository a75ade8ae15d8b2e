import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from gateway.threads import in_thread


async def test_the_result_of_the_work_is_returned():
    assert await in_thread(lambda _: threading.current_thread()) is not threading.current_thread()


async def test_an_exception_of_the_work_is_raised():
    def work(_):
        raise KeyError("x")

    with pytest.raises(KeyError):
        await in_thread(work)


async def test_the_executor_that_is_given_does_the_work():
    with ThreadPoolExecutor(1, thread_name_prefix="own") as executor:
        assert (await in_thread(lambda _: threading.current_thread().name, executor)).startswith("own")


@pytest.mark.parametrize("fails", [False, True])
async def test_a_cancellation_waits_for_the_thread_however_often_it_comes(fails):
    started, may_end, ended = asyncio.Event(), threading.Event(), []
    loop = asyncio.get_running_loop()

    def work(abandoned):
        loop.call_soon_threadsafe(started.set)
        may_end.wait()
        ended.append(abandoned.is_set())
        if fails:
            raise KeyError("nobody asks")

    task = asyncio.create_task(in_thread(work))
    await started.wait()
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0)
    assert not task.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == [True]


async def test_the_deadline_of_a_caller_is_still_seen_as_one():
    may_end = threading.Event()

    async def wait_with_a_deadline():
        async with asyncio.timeout(0.01) as deadline:
            asyncio.get_running_loop().call_at(deadline.when() + 0.01, may_end.set)
            await in_thread(lambda _: may_end.wait())

    with pytest.raises(TimeoutError):
        await wait_with_a_deadline()
