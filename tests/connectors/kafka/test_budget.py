import asyncio

from connectors.kafka.budget import ByteBudget


async def settle():
    for _ in range(5):
        await asyncio.sleep(0)


class Taker:
    """A task that takes octets and holds them until told."""

    def __init__(self, budget, octets):
        self.has = False
        self.let_go = asyncio.Event()
        self.task = asyncio.create_task(self._run(budget, octets))

    async def _run(self, budget, octets):
        with budget.hold() as held:
            await held.take(octets)
            self.has = True
            await self.let_go.wait()
        self.has = False


async def takers(budget, *octets):
    made = [Taker(budget, each) for each in octets]
    await settle()
    return made


async def end(*made):
    for taker in made:
        taker.let_go.set()
    await asyncio.gather(*(taker.task for taker in made), return_exceptions=True)


async def test_what_is_free_is_given_at_once_and_the_rest_waits():
    made = await takers(ByteBudget(10), 4, 6, 1)
    assert [taker.has for taker in made] == [True, True, False]
    made[0].let_go.set()
    await settle()
    assert made[2].has
    await end(*made)


async def test_the_order_of_asking_holds_so_that_a_large_one_is_not_starved():
    made = await takers(ByteBudget(10), 6, 10, 1)
    assert [taker.has for taker in made] == [True, False, False]
    made[0].let_go.set()
    await settle()
    assert [taker.has for taker in made] == [False, True, False]
    await end(*made)


async def test_nobody_takes_at_once_what_others_wait_for():
    budget = ByteBudget(10)
    made = await takers(budget, 6, 10)
    with budget.hold() as held:
        assert not held.take_now(1)
    await end(*made)
    with budget.hold() as held:
        assert held.take_now(11)
        assert not budget.hold().take_now(1)
    assert budget.hold().take_now(1)


async def test_what_is_released_is_given_back_once():
    budget = ByteBudget(10)
    with budget.hold() as held:
        assert held.take_now(6)
        held.release()
        assert budget.hold().take_now(10)
    assert not budget.hold().take_now(1)


async def test_more_than_there_is_counts_as_all_there_is():
    made = await takers(ByteBudget(10), 11)
    assert made[0].has
    await end(*made)


async def test_one_that_is_cancelled_while_it_waits_makes_room_for_those_behind():
    made = await takers(ByteBudget(10), 6, 10, 4)
    made[1].task.cancel()
    await settle()
    assert made[2].has
    await end(*made)


async def test_one_that_is_cancelled_as_its_turn_comes_gives_it_back():
    budget = ByteBudget(10)
    made = await takers(budget, 10, 10)
    made[0].let_go.set()
    while made[0].has:  # noqa: ASYNC110  # turn by turn, to cancel between the gift and its taking
        await asyncio.sleep(0)
    made[1].task.cancel()
    await end(*made)
    async with asyncio.timeout(1):
        with budget.hold() as held:
            await held.take(10)
