"""Servers that do not keep to the protocol, callers that give up: nothing is left open, and the next mail goes."""

import asyncio
import random

import pytest

from gateway.connector import DeliveryFailure, TransientFailure
from gateway.testing import plain_mail
from tests.connectors.smtp.connectors import connected
from tests.connectors.smtp.scripted import Scripted

SECONDS = 30


@pytest.mark.parametrize(
    "script",
    [
        {"greeting": ["hello, this is no SMTP"]},
        {"greeting": ["220-never\r\n" * 10_000]},
        {"greeting": ["220 mx\r\n421 4.3.2 and goodbye"]},
        {"EHLO": ["250-mx\r\n550 no"]},
        {"EHLO": ["354 go on"]},
        {"MAIL": ["354 go on"]},
        {"DATA": ["250 thank you"]},
        {"end": ["354 more"]},
        {"MAIL": ["\0\xff"]},
    ],
    ids=lambda script: str(script)[:40],
)
async def test_a_server_that_makes_no_sense_may_make_some_later(script):
    async with Scripted(**script) as server, connected(server.address) as connector:
        with pytest.raises(TransientFailure) as raised:
            await asyncio.wait_for(connector.emit(plain_mail()), SECONDS)
        assert raised.value.text.isascii()


async def test_whoever_gives_up_leaves_no_connection_and_no_place_taken():
    rng = random.Random(1)
    async with (
        Scripted(RCPT=["250 ok", "450 4.2.0 later", None] * 40 + ["250 ok"]) as server,
        connected(server.address, max_connections=3, idle_seconds=0.05) as connector,
    ):

        async def impatient():
            try:
                async with asyncio.timeout(rng.random() / 100):
                    await connector.emit(plain_mail())
            except (TimeoutError, DeliveryFailure):
                pass

        await asyncio.wait_for(asyncio.gather(*(impatient() for _ in range(150))), SECONDS)
        server.mend()
        # All places are free again: so many mails go at once.
        await asyncio.wait_for(asyncio.gather(*(connector.emit(plain_mail()) for _ in range(6))), SECONDS)
        await asyncio.wait_for(asyncio.gather(*(each.ended.wait() for each in server.sessions)), SECONDS)


async def test_a_connector_that_is_closed_while_a_mail_is_on_its_way_lets_it_end():
    async with Scripted(end=[""]) as server, connected(server.address, deadline_seconds=3) as connector:
        emit = asyncio.create_task(connector.emit(plain_mail()))
        await asyncio.wait_for(server.taking.wait(), SECONDS)
        await asyncio.wait_for(connector.close(), SECONDS)
        with pytest.raises(TransientFailure) as raised:
            await emit
        assert raised.value.possibly_stored


async def test_a_server_that_hangs_at_goodbye_is_not_waited_for():
    async with Scripted(QUIT=[""]) as server, connected(server.address) as connector:
        await connector.emit(plain_mail())
        await asyncio.wait_for(connector.close(), 5)
        await asyncio.wait_for(server.sessions[0].ended.wait(), 5)
