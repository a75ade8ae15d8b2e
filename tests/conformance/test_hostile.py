"""Servers that are not there, say nothing, too much or nonsense: the examination ends all the same, and says so."""

import asyncio
import time
from contextlib import asynccontextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.conformance import Outcome, Patience, Unreachable
from tests.conformance.targets import findings, target
from tests.servers.ports import free_port

_HASTY = Patience(reply_seconds=2, seconds=3)
_SAID = st.binary(max_size=40) | st.sampled_from(
    [
        b"220 a\r\n",
        b"250 a\r\n",
        b"250-a\r\n250 CHUNKING\r\n",
        b"354 a\r\n",
        b"221 a\r\n",
        b"250-",
        b"\r\n",
        b"421 a\r\n",
    ]
)
# What all of it may take, on a busy machine: far more than it does, and far less than for ever.
_BOUND_SECONDS = 20


@asynccontextmanager
async def server(talk):
    async def serve(reader, writer):
        try:
            await talk(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        listening.close()


def saying(octets):
    """A server that says this, and then nothing until the client has gone."""

    async def talk(reader, writer):
        writer.write(octets)
        await reader.read()

    return talk


async def dripping(_reader, writer):
    while True:
        writer.write(b"2")
        await writer.drain()
        await asyncio.sleep(0.01)


def flooding(octets):
    async def talk(_reader, writer):
        writer.write(b"220 hello\r\n")
        while True:
            writer.write(octets)
            await writer.drain()

    return talk


async def closing(_reader, _writer):
    pass


async def test_a_server_that_is_not_there_is_told_in_one_clause():
    port = free_port()
    with pytest.raises(Unreachable, match=f"^there is no connection to 127.0.0.1:{port}: Connection refused$"):
        await findings(target(port))


@pytest.mark.parametrize(
    ("talk", "why"),
    [
        (saying(b""), "does not begin a session: no reply within 2 seconds"),
        (closing, "does not begin a session: the server closed the connection"),
        (dripping, "does not begin a session: no reply within 2 seconds"),
        (saying(b"SSH-2.0-OpenSSH_9.2\r\n"), "not an SMTP reply: SSH-2.0"),
        (saying(b"554 go away\r\n"), r"does not begin a session: 554 go away\\r\\n"),
        (saying(b"220 a\r\n554 go away\r\n"), r"does not begin a session: 554 go away\\r\\n"),
        (flooding(b"250-more\r\n"), "the server's reply does not end"),
        (flooding(b"250 " + 1000 * b"x"), "the server's reply does not end"),
        (saying(b"220 \x1b]0;owned\x07\r\n500 \x1b[2J\r\n"), r"500 \\x1b\[2J\\r\\n"),
    ],
)
async def test_a_server_that_does_not_begin_is_told_in_one_clause(talk, why):
    began = time.monotonic()
    async with server(talk) as port:
        with pytest.raises(Unreachable, match=why) as raised:
            await findings(target(port, patience=_HASTY))
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 1000
    assert time.monotonic() - began < _BOUND_SECONDS


async def test_a_server_that_falls_silent_is_left_when_the_time_is_over():
    first = True

    async def talk(reader, writer):
        nonlocal first
        if first:
            first = False
            writer.write(b"220 hello\r\n250 hello\r\n221 bye\r\n")
        await reader.read()

    began = time.monotonic()
    async with server(talk) as port:
        found = list((await findings(target(port, patience=_HASTY))).values())
    assert time.monotonic() - began < _BOUND_SECONDS
    assert Outcome.PASSED not in {finding.outcome for finding in found if finding.exchange}
    assert "3 seconds were not enough for all checks" in {finding.reason for finding in found}


async def test_replies_without_end_are_not_read():
    """What was not asked for is found at the end of each check, and no more of it is taken."""
    async with server(flooding(b"250 ok\r\n")) as port:
        found = await findings(target(port), ["noop", "rcpt-before-mail"])
    assert found["noop"].outcome is Outcome.FAILED
    assert found["noop"].came == r"250 ok\r\n"
    assert found["rcpt-before-mail"].outcome is Outcome.FAILED


async def test_what_is_no_reply_is_a_failure_wherever_it_comes():
    async def talk(reader, writer):
        writer.write(b"220 hello\r\n")
        await reader.readline()
        writer.write(b"250 hello\r\n")
        line = await reader.readline()
        writer.write(b"221 bye\r\n" if line == b"QUIT\r\n" else b"okay, go on\r\n")
        await reader.read()

    async with server(talk) as port:
        found = (await findings(target(port), ["nested-mail"]))["nested-mail"]
    assert found.outcome is Outcome.FAILED
    assert "not an SMTP reply: okay, go on" in found.came


async def test_a_reply_that_the_check_needs_and_does_not_get_is_no_failure():
    async def talk(reader, writer):
        writer.write(b"220 hello\r\n")
        while line := await reader.readline():
            writer.write({b"EHLO": b"250 hello\r\n", b"QUIT": b"221 bye\r\n"}.get(line[:4], b"451 later\r\n"))

    async with server(talk) as port:
        found = (await findings(target(port), ["nested-mail"]))["nested-mail"]
    assert found.outcome is Outcome.SKIPPED
    assert (found.sent, found.came) == (r"MAIL FROM:<>\r\n", r"451 later\r\n")


@given(said=st.lists(_SAID, max_size=8), ends=st.booleans())
@settings(max_examples=60)
def test_whatever_a_server_says_there_is_a_finding_or_a_clause(said, ends):
    async def talk(reader, writer):
        for piece in said:
            writer.write(piece)
            if not await reader.readline():
                return
        if not ends:
            await reader.read()

    async def examine_it():
        async with server(talk) as port:
            return await findings(target(port, patience=Patience(reply_seconds=0.05, seconds=1)), names)

    names = {"chunk", "noop", "data-with-commands-in-it", "reply-lines", "hello-lines", "status-codes"}
    clause, found = "", {}
    try:
        found = asyncio.run(examine_it())
    except Unreachable as error:
        clause = str(error)
    assert clause.isprintable()
    assert clause or found.keys() == names
