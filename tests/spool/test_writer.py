"""What one commit held is told a little at a time: whoever hears of it goes on at once."""

import asyncio
import threading
from collections.abc import Sequence

import apsw

from gateway.spool.reserve import Reserve
from gateway.spool.writer import Joint, Writer
from gateway.turns import AT_ONCE
from tests.loop_turns import LoopTurns

_OPERATIONS = 200


async def test_those_who_wait_for_one_commit_go_on_in_many_turns_of_the_loop(tmp_path):
    writer = Writer(lambda _: apsw.Connection(str(tmp_path / "spool.db")), Reserve(tmp_path / "reserve"))
    begin = threading.Event()
    went_on: list[tuple[int, int]] = []

    async def wait(number: int) -> None:
        went_on.append((await writer.run(lambda _: number), loop.now))

    with LoopTurns() as loop:
        # While this one runs, the others come together in the next group.
        first = asyncio.ensure_future(writer.run(lambda _: begin.wait(30)))
        async with asyncio.timeout(30), asyncio.TaskGroup() as others:
            for number in range(_OPERATIONS):
                others.create_task(wait(number))
            await asyncio.sleep(0)
            begin.set()
            await first
    assert [number for number, _ in went_on] == list(range(_OPERATIONS))
    turns = [turn for _, turn in went_on]
    assert max(turns.count(each) for each in turns) <= AT_ONCE
    await writer.close()


async def test_what_is_wanted_in_one_turn_of_the_loop_is_committed_together(tmp_path):
    groups: list[list[int]] = []

    def note(_connection: apsw.Connection, numbers: Sequence[int]) -> Sequence[int]:
        groups.append(list(numbers))
        return numbers

    writer = Writer(lambda _: apsw.Connection(str(tmp_path / "spool.db")), Reserve(tmp_path / "reserve"))
    wanted = range(_OPERATIONS)
    assert await asyncio.gather(*(writer.run(Joint(note, number)) for number in wanted)) == list(wanted)
    assert groups == [list(wanted)]
    await writer.close()
