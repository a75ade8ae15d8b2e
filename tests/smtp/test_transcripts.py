"""Every transcript is answered exactly, whichever way its octets arrive, by the engine and by a real listener."""

import asyncio
import random
import ssl
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import trustme

from tests.smtp.engine_run import EngineRun, Feed
from tests.smtp.transcript import TRANSCRIPTS, Transcript, matches, read
from tests.smtp.transcript_server import Recorder, listen, listener_settings, normal, routes, settings_of

READ = [read(path) for path in TRANSCRIPTS]
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


@pytest.mark.parametrize("feed", [whole, octet_by_octet, at_random_splits])
@pytest.mark.parametrize("transcript", READ, ids=str)
async def test_the_engine_answers_as_written(transcript: Transcript, feed: Feed, tmp_path: Path):
    run = EngineRun(settings_of(transcript), tmp_path)
    outputs = await run.converse(transcript, feed)
    for segment, output in zip(transcript.segments, outputs, strict=False):
        check_replies(segment.expected, output)
    check_mails(transcript, run.recorder)


@pytest.mark.parametrize("transcript", READ, ids=str)
async def test_a_listener_answers_as_written(transcript: Transcript, tmp_path: Path, tls_contexts):
    server_tls, client_tls = tls_contexts
    settings = settings_of(transcript)
    recorder = Recorder()
    listener, port = await listen(
        listener_settings(settings, tmp_path, server_tls if settings.starttls else None), routes(settings, recorder)
    )
    try:
        async with asyncio.timeout(20):
            await _converse(transcript, port, client_tls)
    finally:
        await listener.stop(seconds=5)
    check_mails(transcript, recorder)


async def _converse(transcript: Transcript, port: int, tls: ssl.SSLContext) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for segment in transcript.segments:
        writer.write(segment.sent)
        output = b""
        while len(output.splitlines()) < len(segment.expected) or not output.endswith(b"\n"):
            if not segment.expected:
                break
            octets = await reader.read(65536)
            assert octets, f"the server closed after {output!r}"
            output += octets
        check_replies(segment.expected, output)
        if segment.then == "tls":
            await writer.start_tls(tls, server_hostname="localhost")
        elif segment.then == "closed":
            assert await reader.read() == b""
        elif segment.then == "disconnect":
            break
    writer.close()


def check_replies(expected: list[str], output: bytes) -> None:
    lines = output.decode().split("\r\n")
    assert lines.pop() == "", f"the output ends within a line: {output!r}"
    assert len(lines) == len(expected), f"expected {expected}, got {lines}"
    for wanted, line in zip(expected, lines, strict=True):
        assert matches(wanted, line), f"expected {wanted!r}, got {line!r}"


def check_mails(transcript: Transcript, recorder: Recorder) -> None:
    assert len(recorder.mails) == len(transcript.mails), f"delivered: {recorder.mails}"
    for stated, found in zip(transcript.mails, recorder.mails, strict=True):
        for name, fact in stated.facts.items():
            assert found[name] == normal(fact), name


@pytest.fixture(scope="session")
def tls_contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return server, client
