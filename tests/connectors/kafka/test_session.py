"""What a session leaves behind of a record that it could not have acknowledged."""

import asyncio
import gc
import weakref

import pytest

from connectors.kafka.batch import NotAcknowledged
from connectors.kafka.record import Record
from connectors.kafka.session import Session


class Headers(list):
    """A list that can be watched."""


class SilentProducer:
    """Takes each record, and refuses it or says nothing."""

    def __init__(self, *, refuses):
        self._refuses = refuses

    def append(self, _record):
        sent = asyncio.get_running_loop().create_future()
        if self._refuses:
            sent.set_exception(NotAcknowledged(OSError("refused")))
        return sent

    def give_up(self, _sent):
        return NotAcknowledged(TimeoutError("no answer"), possibly_stored=True)

    async def abandon(self):
        pass


async def is_acknowledged(session, record):
    try:
        await session.send(record, alone=False, deadline=asyncio.get_running_loop().time())
    except NotAcknowledged:
        return False
    return True


@pytest.mark.parametrize("refuses", [False, True], ids=["late", "refused"])
async def test_a_record_that_is_not_acknowledged_waits_for_no_garbage_collector(refuses):
    headers = Headers()
    left = weakref.ref(headers)
    record = Record(topic="mail", key=b"id", value=b"", headers=headers)
    del headers
    session = Session(SilentProducer(refuses=refuses))
    gc.disable()
    try:
        assert not await is_acknowledged(session, record)
        del record
        # The loop still has to look at the future.
        await asyncio.sleep(0)
        assert left() is None
    finally:
        gc.enable()
    await session.ended()
