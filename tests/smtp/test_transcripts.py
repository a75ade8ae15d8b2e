"""Every transcript is kept to exactly, whichever way its octets arrive, by the engines and over a real socket."""

import asyncio
import random
import ssl
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import trustme
import uvloop

from tests.smtp.client_run import ClientRun
from tests.smtp.engine_run import EngineRun, Feed
from tests.smtp.transcript import TRANSCRIPTS, Transcript, read, replies_differ, unescape
from tests.smtp.transcript_server import Recorder, listen, listener_settings, routes, settings_of

READ = [read(path) for path in TRANSCRIPTS]
OF_SERVERS = [transcript for transcript in READ if transcript.settings.get("role") != "client"]
OF_CLIENTS = [transcript for transcript in READ if transcript.settings.get("role") == "client"]
_SPLITS = 5
# Octet by octet, a long payload costs a second and shows nothing more than a short one.
_LONG = 100_000


def whole(octets: bytes) -> Iterator[bytes]:
    if octets:
        yield octets


def octet_by_octet(octets: bytes) -> Iterator[bytes]:
    step = 1 if len(octets) < _LONG else 997
    return (octets[position : position + step] for position in range(0, len(octets), step))


def at_random_splits(octets: bytes) -> Iterator[bytes]:
    dice = random.Random(len(octets))
    cuts = sorted({0, len(octets), *(dice.randrange(len(octets) + 1) for _ in range(_SPLITS + len(octets) // 50))})
    for start, end in pairwise(cuts):
        yield octets[start:end]


FEEDS = [whole, octet_by_octet, at_random_splits]


@pytest.mark.parametrize("feed", FEEDS)
@pytest.mark.parametrize("transcript", OF_SERVERS, ids=str)
async def test_the_server_engine_answers_as_written(transcript: Transcript, feed: Feed, tmp_path: Path):
    run = EngineRun(settings_of(transcript), tmp_path)
    outputs = await run.converse(transcript, feed)
    for segment, output in zip(transcript.segments, outputs, strict=False):
        assert not replies_differ(segment.expected, output)
    check_mails(transcript, run.recorder)


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
@pytest.mark.parametrize("transcript", OF_SERVERS, ids=str)
def test_a_listener_answers_as_written(transcript: Transcript, new_loop, tmp_path: Path, tls_contexts):
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(_over_a_socket(transcript, tmp_path, *tls_contexts))


async def _over_a_socket(
    transcript: Transcript, spool: Path, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    settings = settings_of(transcript)
    recorder = Recorder()
    listener, port = await listen(
        listener_settings(settings, spool, server_tls if settings.starttls else None), routes(settings, recorder)
    )
    try:
        async with asyncio.timeout(20):
            await _converse(transcript, port, client_tls)
    finally:
        await listener.stop(seconds=5)
    check_mails(transcript, recorder)


@pytest.mark.parametrize("feed", FEEDS)
@pytest.mark.parametrize("transcript", OF_CLIENTS, ids=str)
def test_the_client_engine_says_what_is_written(transcript: Transcript, feed: Feed):
    run = ClientRun(transcript)
    for said, written in run.converse(transcript, feed):
        assert said == written
    assert run.results == transcript.results


@pytest.mark.parametrize("transcript", OF_CLIENTS, ids=str)
async def test_the_client_engine_says_what_is_written_over_a_socket(transcript: Transcript, tls_contexts):
    server_tls, client_tls = tls_contexts
    said: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            for turn in transcript.turns:
                if turn.side == "S":
                    writer.write(turn.octets)
                elif turn.side == "C":
                    assert await reader.readexactly(len(turn.octets)) == turn.octets
                elif turn.side == "tls":
                    await writer.start_tls(server_tls)
                elif turn.side == "disconnect":
                    break
            writer.close()
            assert await reader.read() == b""
            said.set_result(None)
        except (AssertionError, OSError) as error:
            said.set_exception(error)

    async with asyncio.timeout(20), await asyncio.start_server(play, "127.0.0.1", 0) as server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        run = ClientRun(transcript)
        while octets := await reader.read(65536):
            run.hear(octets)
            writer.write(run.say())
            if run.wants_tls:
                await writer.start_tls(client_tls, server_hostname="localhost")
                run.pass_on("tls")
                writer.write(run.say())
        run.pass_on("disconnect")
        writer.close()
        await said
    assert run.results == transcript.results


async def _converse(transcript: Transcript, port: int, tls: ssl.SSLContext) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for segment in transcript.segments:
        writer.write(segment.sent)
        output = b""
        while _replies(output.decode().splitlines()) < _replies(segment.expected) or not output.endswith(b"\n"):
            if not segment.expected:
                break
            octets = await reader.read(65536)
            assert octets, f"the server closed after {output!r}"
            output += octets
        assert not replies_differ(segment.expected, output)
        if segment.then == "tls":
            await writer.start_tls(tls, server_hostname="localhost")
        elif segment.then == "closed":
            assert await reader.read() == b""
        elif segment.then == "disconnect":
            break
    writer.close()


def _replies(lines: list[str]) -> int:
    return sum(line[3:4] != "-" for line in lines)


def check_mails(transcript: Transcript, recorder: Recorder) -> None:
    assert len(recorder.mails) == len(transcript.mails), f"delivered: {recorder.mails}"
    for stated, found in zip(transcript.mails, recorder.mails, strict=True):
        for name, fact in stated.facts.items():
            assert found[name] == unescape(fact), name


@pytest.fixture(scope="session")
def tls_contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return server, client
