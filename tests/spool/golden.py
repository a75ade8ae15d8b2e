"""Golden spools: what each format version has left behind, kept as files so that it can be read for ever.

`python -m tests.spool.golden` makes the one of today's format, once, into `tests/spool/golden/v<format>`; after that it
is never made again. A new format gets a new one; the old ones stay. `CONTENTS` says what is in each of them.
"""

import asyncio
import shutil
import sys
import tempfile
from pathlib import Path

from gateway.spool import DeadLetter, NewDelivery, NewMessage, State
from gateway.spool.database import FORMAT
from tests.spool.spools import claimed, mail_of, opened, settled

__all__ = ["CONTENTS", "FOLDER", "STATES"]

FOLDER = Path(__file__).parent / "golden"
LARGE = b"large\r\n" * 10_000
ACCEPTED_AT = 1_795_000_000.0

# What can be delivered of it, by connector: the contents in order, an interrupted attempt among them.
CONTENTS = {
    "archive": [b"first", b"second", b"third", LARGE, b"interrupted"],
    "events": [b"two connectors"],
}
# What waits for an operator.
STATES = {"dead": b"dead", "quarantined": b"quarantined"}


async def make(directory: Path) -> None:
    """Fill an empty directory with one delivery of each kind."""
    async with opened(directory) as spool:

        async def add(content: bytes, *connectors: str, key: bytes | None = None) -> None:
            deliveries = tuple(
                NewDelivery(connector=connector, recipients=(0,), ordering_key=key)
                for connector in connectors or ("archive",)
            )
            await spool.add(NewMessage(mail=mail_of(content), deliveries=deliveries, accepted_at=ACCEPTED_AT))

        two = NewDelivery(connector="archive", recipients=(0, 1))
        await spool.add(
            NewMessage(mail=mail_of(b"dead").for_recipients((0, 0)), deliveries=(two,), accepted_at=ACCEPTED_AT)
        )
        (entry,) = await claimed(spool)
        refused = DeadLetter(recipients=(1,), possible_duplicate=False, status="5.1.1", cause="an example")
        await spool.settle(settled(entry, State.WAITING, recipients=(0,), dead_letter=refused))
        await add(b"quarantined")
        await add(b"interrupted")
        for entry in await claimed(spool):
            state = {b"dead": State.DEAD, b"quarantined": State.QUARANTINED}.get(entry.mail.content.read())
            if state is not None:
                await spool.settle(settled(entry, state, status="5.0.0", cause="an example"))
        for content in (b"first", b"second", b"third"):
            await add(content, key=b"key")
        await add(LARGE)
        await add(b"two connectors", "events", "done")
        (entry,) = await claimed(spool, "done")
        await spool.settle(settled(entry))
        await spool.pause("closed", ACCEPTED_AT, "410 Gone")


def main() -> int:
    target = FOLDER / f"v{FORMAT}"
    if target.exists():
        print(f"{target} is there already, and stays as it is")
        return 1
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(make(Path(folder)))
        shutil.copytree(folder, target, ignore=shutil.ignore_patterns("lock"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
