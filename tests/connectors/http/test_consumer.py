"""Real consumers: the example of the documentation under uvicorn, and one that records what really came."""

import asyncio
import base64
import hmac
import time
from urllib.parse import unquote_to_bytes

import aiohttp
import pytest
from msgspec import structs
from standardwebhooks import Webhook

from connectors.http.signature import Signature, decode_secret
from gateway.codec import json_v1, raw
from gateway.connector import Mail, TransientFailure
from gateway.envelope import Content
from tests.connectors.http.consumers import (
    SECRET,
    Received,
    Recorder,
    connector,
    example_app,
    listening,
    read_request,
    served,
)

FORMATS = ("cloudevents-binary", "cloudevents-structured", "raw", "multipart")
OTHER_SECRET = "whsec_" + base64.b64encode(b"x" * 32).decode()


@pytest.fixture(scope="module")
def example():
    with served(example_app(SECRET)) as url:
        yield url + "/mail"


@pytest.fixture(scope="module")
def recorder():
    return Recorder()


@pytest.fixture(scope="module")
def recording(recorder):
    with served(recorder) as url:
        yield url


@pytest.mark.parametrize("form", FORMATS)
async def test_the_example_consumer_takes_and_shows_a_mail_in_every_format(form, example, plain, capsys):
    content = Content(b"From: a@example.net\r\nTo: b@example.org\r\nSubject: caf\xe9 \x1b[31m\r\n\r\nHello.\r\n")
    async with connector(example, format=form) as consumer:
        receipt = await consumer.emit(Mail(plain.envelope, content))
    mail_id = plain.envelope.id
    assert receipt.id == mail_id
    assert receipt.connector == "consumer"
    assert receipt.location == {"status": 200, "id": mail_id}
    assert capsys.readouterr().out.splitlines() == [
        f"mail {mail_id}, {content.size} octets",
        "    From: 'a@example.net'",
        "    To: 'b@example.org'",
        "    Subject: 'caf\\ufffd \\x1b[31m'",
    ]


@pytest.mark.parametrize("form", FORMATS)
async def test_the_example_consumer_takes_every_sample(form, example, samples):
    async with connector(example, format=form, header_max_bytes=65536) as consumer:
        for mail in samples.values():
            assert (await consumer.emit(mail)).location["id"] == mail.envelope.id


async def test_while_secrets_rotate_a_consumer_with_either_takes_the_mail(example, plain):
    for secrets in ([SECRET, OTHER_SECRET], [OTHER_SECRET, SECRET]):
        async with connector(example, secrets=secrets) as consumer:
            await consumer.emit(plain)


async def test_the_example_consumer_lets_a_mail_with_a_wrong_signature_come_again(example, plain):
    async with connector(example, secrets=[OTHER_SECRET]) as consumer:
        with pytest.raises(TransientFailure, match="HTTP 503"):
            await consumer.emit(plain)


@pytest.mark.parametrize(
    ("age", "change"),
    [
        (301, {}),
        (-301, {}),
        (0, {"webhook-id": "another"}),
        (0, {"webhook-timestamp": "0"}),
        (0, {"webhook-timestamp": "x"}),
        (0, {"webhook-timestamp": "9" * 20}),
        (0, {"webhook-signature": ""}),
        (0, {"webhook-signature": "v1, v1,AAAA v2,x \xff"}),
    ],
)
async def test_the_example_consumer_refuses_stale_and_altered_requests(example, age, change):
    signature = Signature([decode_secret(SECRET)], id="01K", timestamp=int(time.time()) - age)
    signature.update(b"{}")
    headers = {**dict(signature.headers()), **change, "content-type": "message/rfc822"}
    async with aiohttp.ClientSession() as session, session.post(example, data=b"{}", headers=headers) as answer:
        assert answer.status == 503


@pytest.mark.parametrize("secrets", ["", "whsec_", "whsec_c2hvcnQ=", f"{SECRET} whsec_"])
def test_the_example_consumer_does_not_start_with_a_secret_that_anybody_could_guess(secrets):
    with pytest.raises(SystemExit, match="24 octets"):
        example_app(secrets)


@pytest.mark.parametrize("form", FORMATS)
async def test_the_exact_octets_on_the_wire_are_signed(form, recording, recorder, samples):
    async with connector(recording, format=form, header_max_bytes=65536) as consumer:
        for mail in samples.values():
            receipt = await consumer.emit(mail)
            assert receipt.location == {"status": 202, "location": "/mails/1"}
            request = recorder.received[mail.envelope.id]
            verify(request)
            if form == "raw":
                assert request.body == mail.content.read()


def verify(request: Received) -> None:
    if request["content-type"].endswith("json"):
        Webhook(SECRET).verify(request.body, dict(request.headers))
        return
    # The authors' package takes nothing but UTF-8, and these bodies have other octets as well.
    signed = b"%b.%b.%b" % (request["webhook-id"].encode(), request["webhook-timestamp"].encode(), request.body)
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    mac = base64.b64encode(hmac.digest(key, signed, "sha256")).decode()
    assert request["webhook-signature"] == f"v1,{mac}"


async def test_a_raw_mail_can_be_sent_again_from_what_the_consumer_got(recording, recorder, samples):
    mail = samples["metadata of every type"]
    async with connector(recording, format="raw") as consumer:
        await consumer.emit(mail)
    pairs = []
    for name, value in recorder.received[mail.envelope.id].headers:
        decode = base64.b64decode if name.startswith("bmtd-") else unquote_to_bytes
        pairs += (
            [(name, decode(element)) for element in value.split(",")] if name.startswith(("mail-", "bmtd-")) else []
        )
    assert raw.decode(pairs) == (mail.envelope.envelope, mail.envelope.metadata.containers)


async def test_an_envelope_arrives_as_it_is(recording, recorder, samples):
    async with connector(recording) as consumer:
        for mail in samples.values():
            await consumer.emit(mail)
            assert json_v1.decode(recorder.received[mail.envelope.id].body) == mail.inline()


async def test_every_attempt_has_the_same_id_and_a_new_timestamp(recording, recorder, plain, monkeypatch):
    async with connector(recording) as consumer:
        seen = []
        for now in (1_700_000_000.9, 1_700_000_300.2):
            monkeypatch.setattr("connectors.http.client.time.time", lambda now=now: now)
            await consumer.emit(plain)
            request = recorder.received[plain.envelope.id]
            seen.append((request["webhook-id"], request["webhook-timestamp"]))
    assert seen == [(plain.envelope.id, "1700000000"), (plain.envelope.id, "1700000300")]


async def test_configured_headers_and_credentials_are_sent(recording, recorder, plain, tmp_path):
    token = tmp_path / "token"
    token.write_text("from-a-file\n")
    for settings, authorization in (
        ({"bearer_token": "abc"}, "Bearer abc"),
        ({"bearer_token_file": token}, "Bearer from-a-file"),
        ({"username": "u", "password": "p:ä"}, "Basic " + base64.b64encode("u:p:ä".encode()).decode()),
        ({"username": "u", "password_file": token}, "Basic " + base64.b64encode(b"u:from-a-file").decode()),
    ):
        async with connector(recording, headers={"X-Api-Key": "k"}, **settings) as consumer:
            await consumer.emit(plain)
        request = recorder.received[plain.envelope.id]
        assert request["authorization"] == authorization
        assert request["x-api-key"] == "k"
        assert request["accept-encoding"] == "identity"
        assert request["user-agent"].startswith("Mailsluice/")
        assert request["content-length"] == str(len(request.body))


async def test_the_url_is_asked_for_as_it_is_written(plain):
    target = "/a%2Fb/../c;d=%7e?q=%41&r=+"
    asked = []

    async def handle(reader, writer):
        asked.append(await reader.readline())
        await read_request(reader)
        writer.write(b"HTTP/1.1 204 Stored\r\n\r\n")
        await writer.drain()

    async with listening(handle) as url, connector(url + target) as consumer:
        await consumer.emit(plain)
    assert asked == [f"POST {target} HTTP/1.1\r\n".encode()]


async def test_connections_are_shared_and_bounded(plain):
    open_now = peak = connections = 0
    enough = asyncio.Event()

    async def handle(reader, writer):
        nonlocal open_now, peak, connections
        connections += 1
        while True:
            await read_request(reader)
            open_now += 1
            peak = max(peak, open_now)
            if open_now == 3:
                enough.set()
            await enough.wait()
            open_now -= 1
            writer.write(b"HTTP/1.1 204 Stored\r\n\r\n")

    async with listening(handle) as url, connector(url, max_connections=3) as consumer:
        mails = [Mail(structs.replace(plain.envelope, id=f"{n:026}"), plain.content) for n in range(20)]
        receipts = await asyncio.gather(*(consumer.emit(mail) for mail in mails))
    assert [receipt.id for receipt in receipts] == [mail.envelope.id for mail in mails]
    assert (peak, connections) == (3, 3)
