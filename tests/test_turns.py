"""Work that many tasks would do at once is spread over turns of the event loop, in the order in which they came."""

import asyncio

from gateway.turns import AT_ONCE, turn
from tests.loop_turns import LoopTurns

_TASKS = 100


async def turns_of(tasks: int, *, awaiting: int = 1) -> list[tuple[int, int]]:
    """For each task that went on, in order, its number and the turn of the loop; each awaits so many turns."""
    went_on: list[tuple[int, int]] = []

    async def work(number: int) -> None:
        for _ in range(awaiting):
            await turn()
            went_on.append((number, loop.now))

    with LoopTurns() as loop:
        async with asyncio.timeout(30), asyncio.TaskGroup() as running:
            for number in range(tasks):
                running.create_task(work(number))
    return went_on


async def test_few_go_on_in_one_turn():
    turns = [turn_ for _, turn_ in await turns_of(_TASKS)]
    assert max(turns.count(each) for each in turns) <= AT_ONCE


async def test_who_comes_first_goes_first():
    assert [number for number, _ in await turns_of(_TASKS)] == list(range(_TASKS))


async def test_all_get_their_turns_however_many_each_wants():
    went_on = await turns_of(_TASKS, awaiting=5)
    assert sorted(number for number, _ in went_on) == sorted(5 * [*range(_TASKS)])


async def test_who_is_alone_waits_for_nobody():
    task = asyncio.ensure_future(turn())
    await asyncio.sleep(0)
    assert task.done()


async def test_whoever_is_cancelled_takes_no_turn_from_others():
    tasks = [asyncio.ensure_future(turn()) for _ in range(_TASKS)]
    await asyncio.sleep(0)
    for task in tasks[AT_ONCE:-1]:
        task.cancel()
    async with asyncio.timeout(30):
        await tasks[-1]
    assert [task.cancelled() for task in tasks] == [False] * AT_ONCE + [True] * (_TASKS - AT_ONCE - 1) + [False]


def test_each_event_loop_has_turns_of_its_own():
    for _ in range(2):
        assert len(asyncio.run(turns_of(_TASKS))) == _TASKS
