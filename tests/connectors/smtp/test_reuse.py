"""Connections are kept for the next mail: so many, so long, for so many mails; and a kept one may be gone."""

import asyncio

from gateway.testing import plain_mail
from tests.connectors.smtp.connectors import connected
from tests.connectors.smtp.scripted import Scripted

SECONDS = 20


async def test_mails_go_in_one_connection_after_another():
    async with Scripted() as server, connected(server.address) as connector:
        for _ in range(5):
            await connector.emit(plain_mail())
        assert [session.mails for session in server.sessions] == [5]


async def test_after_so_many_mails_a_connection_is_closed_in_order():
    async with Scripted() as server, connected(server.address, max_mails_per_connection=2) as connector:
        for _ in range(5):
            await connector.emit(plain_mail())
        assert [session.mails for session in server.sessions] == [2, 2, 1]
        await asyncio.wait_for(server.sessions[1].ended.wait(), SECONDS)
        assert server.sessions[1].heard[-1] == "QUIT"


async def test_a_connection_without_a_mail_is_closed_in_time():
    async with Scripted() as server, connected(server.address, idle_seconds=0.05) as connector:
        await connector.emit(plain_mail())
        await asyncio.wait_for(server.sessions[0].ended.wait(), SECONDS)
        assert server.sessions[0].heard[-1] == "QUIT"


async def test_there_are_never_more_connections_than_allowed():
    async with Scripted() as server, connected(server.address, max_connections=3) as connector:
        await asyncio.gather(*(connector.emit(plain_mail()) for _ in range(20)))
        assert sum(session.mails for session in server.sessions) == 20
        assert server.most_at_once <= 3


async def test_a_kept_connection_that_the_server_has_closed_costs_nothing():
    async with Scripted() as server, connected(server.address) as connector:
        await connector.emit(plain_mail())
        server.sessions[0].close()
        await asyncio.wait_for(server.sessions[0].ended.wait(), SECONDS)
        await connector.emit(plain_mail())
        assert [session.mails for session in server.sessions] == [1, 1]


async def test_a_kept_connection_that_ends_as_the_next_mail_begins_is_replaced():
    async with Scripted() as server, connected(server.address) as connector:
        await connector.emit(plain_mail())
        server.sessions[0].cut_at("MAIL")
        await connector.emit(plain_mail())
        assert [session.mails for session in server.sessions] == [1, 1]


async def test_a_refused_mail_leaves_the_connection_to_the_next_one():
    async with Scripted(RCPT=["550 5.1.1 nobody"]) as server, connected(server.address) as connector:
        for _ in range(2):
            failure = (await asyncio.gather(connector.emit(plain_mail()), return_exceptions=True))[0]
            assert str(failure.status) == "5.1.1"
        assert len(server.sessions) == 1


async def test_close_says_goodbye():
    async with Scripted() as server:
        async with connected(server.address) as connector:
            await connector.emit(plain_mail())
        await asyncio.wait_for(server.sessions[0].ended.wait(), SECONDS)
        assert server.sessions[0].heard[-1] == "QUIT"


async def test_a_server_that_takes_its_leave_gets_the_next_mail_in_another_connection():
    async with Scripted(RCPT=["421 4.3.2 going down", "250 ok"]) as server, connected(server.address) as connector:
        failure = (await asyncio.gather(connector.emit(plain_mail()), return_exceptions=True))[0]
        assert str(failure.status) == "4.3.2"
        await connector.emit(plain_mail())
        assert [session.mails for session in server.sessions] == [0, 1]


async def test_half_an_answer_that_nobody_asked_for_is_no_answer_to_the_next_mail():
    """Its rest would be taken for the answer to MAIL, and each answer from then on for that to the next command."""
    async with (
        Scripted(end=["250 2.0.0 taken\r\n250-2.0.0 and", "250 2.0.0 taken"]) as server,
        connected(server.address) as connector,
    ):
        for _ in range(2):
            await connector.emit(plain_mail())
        assert [session.mails for session in server.sessions] == [1, 1]
