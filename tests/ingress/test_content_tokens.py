"""Tokens about stored content between two gateways with the same storage, as a proxy uses them."""

import hashlib
import ipaddress
import re
import time
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from connectors.directory import CONNECTOR, DirectorySettings
from gateway import archive
from gateway.address import parse_path
from gateway.codec import json_v1
from gateway.connector import Receipt
from gateway.delivery import RecipientOutcome
from gateway.envelope import Recipient
from gateway.ingress import content_tokens
from gateway.ingress.reply_metadata import OfferedCodes, ReplyMetadata
from gateway.keys import Key, KeyRing, Purpose
from gateway.maildata import ContentTokens
from gateway.smtp import Reply
from tests.ingress.gateway import gateway, settings

KEY = Key(purpose=Purpose.MAILDATA, id="1", created="2026-11-22T00:00:00.000000Z", secret=b"k" * 32)
EVERYBODY = (ipaddress.ip_network("127.0.0.0/8"),)
CONTENT = b"Subject: same\r\n\r\nThe same.\r\n"


@asynccontextmanager
async def backend(folder, root, *, key=KEY, dialect="lmtp"):
    """A client of a gateway whose storage is at `root`."""
    tokens = ContentTokens(KeyRing([key]), issuer="mx.example.com", storages=["archive"])
    offered = settings(
        folder,
        dialect=dialect,
        policy={"reply_codes": True},
        reply_metadata=ReplyMetadata(offered=(OfferedCodes(names=("MAILDATA",), networks=EVERYBODY),), contents=tokens),
    )
    connector = CONNECTOR.build(DirectorySettings(name="archive", path=root, single_instance=True), {})
    await connector.open()
    async with gateway(offered, connector) as running, await running.connect() as client:
        client.send(b"EHLO c\r\n" if dialect == "smtp" else b"LHLO c\r\n")
        assert "250-XREPLYMETA MAILDATA" in await client.reply()
        yield client
    await connector.close()


async def deliver(client, *recipients, content=CONTENT, enabling=b" XREPLYMETA=MAILDATA"):
    """The final replies to a mail, one for each recipient, and the fields of the log line that tell of tokens."""
    commands = [b"MAIL FROM:<s@example.net>" + enabling, *(b"RCPT TO:" + each for each in recipients), b"DATA"]
    client.send(*(command + b"\r\n" for command in commands))
    assert await client.code() == 250
    for _ in recipients:
        # Whatever is wrong with a token, the reply is the same.
        assert await client.reply() == ["250 2.1.5 recipient ok"]
    assert await client.code() == 354
    with capture_logs() as lines:
        client.send(content + b".\r\n")
        replies = [(await client.reply())[-1] for _ in recipients]
    (line,) = [line for line in lines if line["event"] == "mail"]
    return replies, line.get("content_tokens")


def token_of(reply):
    return re.search(r"\[MAILDATA ([A-Za-z0-9_-]+)\]", reply)[1].encode()


@pytest.fixture
async def token(tmp_path):
    """What the first gateway gave for a mail with CONTENT to example.org."""
    async with backend(tmp_path, tmp_path / "mail") as client:
        (reply,), counted = await deliver(client, b"<a@example.org>")
    assert counted is None
    return token_of(reply)


async def test_a_second_gateway_with_the_storage_has_the_content_once(tmp_path, token):
    async with backend(tmp_path, tmp_path / "mail") as client:
        (reply,), counted = await deliver(client, b"<b@example.org> MAILDATA=" + token)
    assert counted == {"same": 1}
    assert token_of(reply) != token
    first, second = [marker.with_suffix(".eml") for marker in archive.mails(tmp_path / "mail")]
    assert first.samefile(second)


def test_a_token_is_given_for_the_domain_and_to_the_client(token):
    tokens = ContentTokens(KeyRing([KEY]), issuer="mx.example.com", storages=["archive"])
    found = tokens.open(token.decode(), domain="example.org", peer="127.0.0.1", now=time.time())
    assert (found.domain, found.peer) == ("example.org", "127.0.0.1")


async def test_another_content_than_the_tokens_is_stored_as_it_came(tmp_path, token):
    other = CONTENT.replace(b"The", b"Not")
    assert len(other) == len(CONTENT)
    async with backend(tmp_path, tmp_path / "mail") as client:
        (reply,), counted = await deliver(client, b"<b@example.org> XMAILDATA=" + token, content=other)
    assert reply.startswith("250 2.0.0 <b@example.org> [MAILDATA ")
    assert counted == {"different": 1}
    contents = {marker.with_suffix(".eml").read_bytes() for marker in archive.mails(tmp_path / "mail")}
    assert contents == {CONTENT, other}


def flipped(token):
    return token[:30] + (b"A" if token[30:31] != b"A" else b"B") + token[31:]


@pytest.mark.parametrize(
    ("shown", "reason"),
    [
        (lambda token: b"<b@example.org> MAILDATA=" + flipped(token), "forged"),
        (lambda _: b"<b@example.org> MAILDATA=abcd", "malformed"),
        (lambda token: b"<b@example.org> MAILDATA=AQI" + token[3:], "unknown key"),
    ],
)
async def test_a_token_that_is_none_is_counted_and_the_mail_stored(tmp_path, token, shown, reason):
    async with backend(tmp_path, tmp_path / "mail") as client:
        (reply,), counted = await deliver(client, shown(token))
    assert reply.startswith("250 2.0.0 <b@example.org> [MAILDATA ")
    assert counted == {reason: 1}
    assert len(list(archive.mails(tmp_path / "mail"))) == 2


async def test_a_token_of_another_peer_or_that_is_old_is_counted_and_the_mail_stored(tmp_path):
    tokens = ContentTokens(KeyRing([KEY]), issuer="mx.example.com", storages=["archive"])
    about = {"storage": "archive", "sha256": hashlib.sha256(CONTENT).hexdigest(), "size": len(CONTENT)}
    given = {"domain": "example.org", "peer": "127.0.0.1", "now": time.time()}
    shown = [
        tokens.seal(**about, **{**given, "peer": "192.0.2.1"}),
        tokens.seal(**about, **{**given, "now": given["now"] - 601}),
        tokens.seal(**about, **{**given, "domain": "example.net"}),
        tokens.seal(**about, **given),
    ]
    async with backend(tmp_path, tmp_path / "mail") as client:
        recipients = [f"<{number}@example.org> MAILDATA={token}".encode() for number, token in enumerate(shown)]
        replies, counted = await deliver(client, *recipients)
    assert [reply[:9] for reply in replies] == ["250 2.0.0"] * 4
    assert counted == {"foreign peer": 1, "expired": 1, "foreign domain": 1, "same": 1}


async def test_a_gateway_with_another_key_counts_it_and_stores_the_mail(tmp_path, token):
    async with backend(tmp_path, tmp_path / "mail", key=replace(KEY, secret=b"x" * 32)) as client:
        _, counted = await deliver(client, b"<b@example.org> MAILDATA=" + token)
    assert counted == {"forged": 1}


async def test_a_token_is_in_no_envelope_and_in_no_log(tmp_path, token):
    async with backend(tmp_path, tmp_path / "mail") as client:
        with capture_logs() as lines:
            await deliver(client, b"<b@example.org> MAILDATA=" + token + b" NOTIFY=NEVER")
    _, second = archive.mails(tmp_path / "mail")
    (recipient,) = json_v1.decode(second.read_bytes()).envelope.recipients
    assert [(each.keyword, each.value) for each in recipient.parameters] == [("NOTIFY", "NEVER")]
    assert token not in second.read_bytes()
    assert token.decode() not in repr(lines)


async def test_one_reply_for_several_domains_has_no_token(tmp_path):
    async with backend(tmp_path, tmp_path / "mail", dialect="smtp") as client:
        client.send(b"MAIL FROM:<s@example.net> XREPLYMETA\r\nRCPT TO:<a@example.org>\r\nDATA\r\n" + CONTENT + b".\r\n")
        *_, reply = [await client.reply() for _ in range(4)]
    assert "[MAILDATA " in reply[-1]
    outcomes = [outcome_for(domain) for domain in ("example.org", "example.net")]
    plain = Reply.of(250, "2.0.0", "accepted")
    tokens = ContentTokens(KeyRing([KEY]), issuer="mx.example.com", storages=["archive"])
    envelope = json_v1.decode(next(archive.mails(tmp_path / "mail")).read_bytes())
    assert content_tokens.with_content_tokens([plain], outcomes, tokens, envelope, each=False) == (plain,)
    (with_token,) = content_tokens.with_content_tokens([plain], outcomes[:1], tokens, envelope, each=False)
    assert with_token.codes[0].name == "MAILDATA"


def outcome_for(domain):
    recipient = Recipient(address=parse_path(f"a@{domain}".encode(), utf8=False))
    receipt = Receipt(id="01ARZ3NDEKTSV4RRFFQ69G5FAV", connector="archive", type="directory", location={})
    return RecipientOutcome(recipient=recipient, receipts=(receipt,), failures=())


async def test_without_asking_there_is_no_token(tmp_path):
    async with backend(tmp_path, tmp_path / "mail") as client:
        (reply,), counted = await deliver(client, b"<a@example.org>", enabling=b"")
    assert "[" not in reply
    assert counted is None


async def test_a_refusal_has_no_token_though_one_destination_has_the_mail(tmp_path):
    async with backend(tmp_path, tmp_path / "mail") as client:
        await deliver(client, b"<a@example.org>")
    envelope = json_v1.decode(next(archive.mails(tmp_path / "mail")).read_bytes())
    tokens = ContentTokens(KeyRing([KEY]), issuer="mx.example.com", storages=["archive"])
    refusal = Reply.of(451, "4.4.1", "another destination does not answer")
    for each in (True, False):
        outcomes = [outcome_for("example.org")]
        assert content_tokens.with_content_tokens([refusal], outcomes, tokens, envelope, each=each) == (refusal,)
