"""What becomes of each recipient, and what the receipt says, over SMTP and over LMTP."""

import asyncio

import pytest
from msgspec import structs

from gateway.address import parse_path
from gateway.connector import PermanentFailure, TransientFailure
from gateway.delivery import Destination
from gateway.envelope import Mail, Parameter, Recipient, read_headers
from gateway.smtp import LMTP
from gateway.testing import plain_mail
from tests.connectors.smtp.connectors import connected, make_connector
from tests.connectors.smtp.scripted import HELLO, Scripted
from tests.relay.servers import HOSTNAME, listening
from tests.servers.ports import free_port

SECONDS = 20


def mail_to(*addresses, parameters=()):
    mail = plain_mail()
    recipients = tuple(
        Recipient(address=parse_path(each.encode(), utf8=False), parameters=parameters) for each in addresses
    )
    transaction = structs.replace(mail.envelope.envelope, recipients=recipients)
    return Mail(structs.replace(mail.envelope, envelope=transaction), mail.content)


def refused(receipt):
    return [(each.position, str(each.failure.status)) for each in receipt.refused]


async def test_the_receipt_says_where_the_mail_went_and_in_which_form(tmp_path):
    for disabled, metadata in (((), "carried"), (("METADATA",), "flattened")):
        async with listening(tmp_path, disabled=disabled) as (server, taken), connected(server) as connector:
            mail = plain_mail()
            receipt = await connector.emit(mail)
            (found,) = taken.mails
        assert receipt.location.pop("reply") == f"250 2.0.0 {found} accepted"
        assert receipt.location == {"host": "127.0.0.1", "port": int(server[1]), "metadata": metadata}
        assert (receipt.id, receipt.connector, receipt.type) == (mail.envelope.id, "next", "smtp")


async def test_lmtp_goes_to_a_unix_socket(tmp_path):
    heard = []

    async def serve(reader, writer):
        writer.write(b"220 mx\r\n")
        while line := await reader.readline():
            heard.append(line)
            writer.write(b"354 go\r\n" if line == b"DATA\r\n" else b"250 2.0.0 ok\r\n")
            if line == b"DATA\r\n":
                await reader.readuntil(b"\r\n.\r\n")
                writer.write(b"250 2.0.0 stored\r\n")
        writer.close()

    async with (
        await asyncio.start_unix_server(serve, tmp_path / "lmtp"),
        connected(f"unix:{tmp_path}/lmtp", protocol="lmtp") as connector,
    ):
        receipt = await connector.emit(mail_to("a@example.org"))
    assert receipt.location["host"] == f"unix:{tmp_path}/lmtp"
    assert heard[0] == b"LHLO mx.example.org\r\n"


async def test_over_lmtp_each_recipient_has_its_own_answer():
    answers = ["250 2.0.0 stored", "452 4.2.2 full", "550 5.7.1 no", "250 2.0.0 stored"]
    async with (
        Scripted(lmtp=True, RCPT=["250 ok", "550 5.1.1 nobody", "250 ok"], end=answers) as server,
        connected(server.address, protocol="lmtp") as connector,
    ):
        receipt = await connector.emit(mail_to(*(f"{name}@example.org" for name in "abcde")))
    assert refused(receipt) == [(1, "5.1.1"), (2, "4.2.2"), (3, "5.7.1")]
    assert receipt.location["reply"] == "250 2.0.0 stored"


async def test_over_lmtp_a_connection_that_is_lost_half_way_leaves_the_rest_open():
    async with (
        Scripted(lmtp=True, end=["250 2.0.0 stored", None]) as server,
        connected(server.address, protocol="lmtp") as connector,
    ):
        receipt = await connector.emit(mail_to("a@example.org", "b@example.org"))
    (left,) = receipt.refused
    assert (left.position, type(left.failure), left.failure.possibly_stored) == (1, TransientFailure, True)


async def test_at_the_deadline_what_the_server_has_said_counts():
    answers = ["250 2.0.0 stored", "550 5.7.1 no", ""]
    async with (
        Scripted(lmtp=True, end=answers) as server,
        connected(server.address, protocol="lmtp", deadline_seconds=3) as connector,
    ):
        receipt = await asyncio.wait_for(connector.emit(mail_to(*(f"{name}@example.org" for name in "abcd"))), SECONDS)
    assert refused(receipt) == [(1, "5.7.1"), (2, "4.4.2"), (3, "4.4.2")]
    assert [each.failure.possibly_stored for each in receipt.refused[1:]] == [True, True]


async def test_where_nobody_has_the_mail_the_failure_is_raised_that_is_worth_coming_again_for():
    async with Scripted(RCPT=["550 5.1.1 nobody", "450 4.2.1 later"]) as server, connected(server.address) as connector:
        with pytest.raises(TransientFailure) as raised:
            await connector.emit(mail_to("a@example.org", "b@example.org"))
    assert str(raised.value.status) == "4.2.1"


async def test_recipients_beyond_what_a_server_takes_at_once_go_in_transactions_of_their_own():
    full = "452 4.5.3 too many recipients"
    replies = ["250 ok", "250 ok", full, full, full, "250 ok", "250 ok", full, "250 ok"]
    async with Scripted(RCPT=replies) as server, connected(server.address) as connector:
        receipt = await connector.emit(mail_to(*(f"{name}@example.org" for name in "abcde")))
        assert receipt.refused == ()
        assert [[line[9:10] for line in recipients] for _, recipients, _ in server.mails] == [
            ["a", "b"],
            ["c", "d"],
            ["e"],
        ]


@pytest.mark.parametrize("full", ["552 too many recipients", "552 5.5.3 too many recipients"])
async def test_too_many_is_what_old_servers_say_by_552(full):
    replies = ["250 ok", full, "250 ok"]
    async with Scripted(RCPT=replies) as server, connected(server.address) as connector:
        receipt = await connector.emit(mail_to("a@example.org", "b@example.org"))
        assert receipt.refused == ()
        assert len(server.mails) == 2


@pytest.mark.parametrize("script", [{"RCPT": ["552 5.2.2 mailbox full"]}, {"end": ["552 too big"]}])
async def test_any_other_552_is_for_good(script):
    async with Scripted(**script) as server, connected(server.address) as connector:
        with pytest.raises(PermanentFailure):
            await connector.emit(plain_mail())


async def test_recipients_that_are_always_too_many_wait():
    full = "452 4.5.3 too many recipients"
    async with Scripted(RCPT=["250 ok", full]) as server, connected(server.address) as connector:
        receipt = await connector.emit(mail_to("a@example.org", "b@example.org"))
    assert refused(receipt) == [(1, "4.5.3")]


@pytest.mark.parametrize("second", ["", None])
async def test_those_who_were_not_too_many_have_it_whatever_becomes_of_the_others(second):
    """Be it that the server falls silent, or that it goes away, before it says a word of them."""
    async with (
        Scripted(MAIL=["250 ok", "250 ok", second], RCPT=["250 ok", "250 ok", "452 4.5.3 full", ""]) as server,
        connected(server.address, deadline_seconds=3) as connector,
    ):
        await connector.emit(mail_to("z@example.org"))
        receipt = await asyncio.wait_for(connector.emit(mail_to("a@example.org", "b@example.org")), SECONDS)
        assert refused(receipt) == [(1, "4.4.2")]
        assert len(server.mails) == 2


@pytest.mark.parametrize(("offers", "notifying"), [(HELLO, ()), ((*HELLO, "DSN"), (0, 2))])
async def test_the_receipt_says_about_whom_the_server_notifies(offers, notifying):
    notify = (Parameter(keyword="NOTIFY", value="SUCCESS"),)
    async with (
        Scripted(offers=offers, RCPT=["250 ok", "550 5.1.1 nobody", "250 ok"]) as server,
        connected(server.address) as connector,
    ):
        receipt = await connector.emit(mail_to(*(f"{name}@example.org" for name in "abc"), parameters=notify))
        assert receipt.notifying == notifying
        assert server.mails[0][1][0].endswith(" NOTIFY=SUCCESS") == bool(notifying)


async def test_a_mail_that_has_gone_too_far_goes_no_further():
    mail = plain_mail()
    hops = b"Received: from a by b; Sat, 21 Nov 2026 10:00:00 +0000\r\n"
    for content, own, is_sent in ((99, 1, True), (100, 1, False)):
        message = structs.replace(mail.envelope.message, headers=read_headers(hops * content + b"\r\n")[0])
        assert len(mail.envelope.metadata.trace) == own
        async with Scripted() as server, connected(server.address) as connector:
            sending = connector.emit(Mail(structs.replace(mail.envelope, message=message), mail.content))
            if is_sent:
                await sending
                continue
            with pytest.raises(PermanentFailure) as raised:
                await sending
            assert str(raised.value.status) == "5.4.6"
            assert not server.sessions


@pytest.mark.parametrize(("silent", "possibly_stored"), [("greeting", False), ("MAIL", False), ("end", True)])
async def test_a_silent_server_is_left_in_time_and_what_it_may_have_is_known(silent, possibly_stored):
    async with (
        Scripted(**{silent: [""]}) as server,
        connected(server.address, deadline_seconds=6) as connector,
    ):
        # Whoever bounds the connector as well must not be first: only the connector knows how far it came.
        with pytest.raises(TransientFailure) as raised:
            await asyncio.wait_for(connector.emit(plain_mail()), 6)
    assert (str(raised.value.status), raised.value.possibly_stored) == ("4.4.2", possibly_stored)


async def test_a_server_that_is_not_there_is_unreachable():
    async with connected(("127.0.0.1", free_port())) as connector:
        with pytest.raises(TransientFailure) as raised:
            await connector.emit(plain_mail())
    assert str(raised.value.status) == "4.4.1"
    assert "127.0.0.1" not in raised.value.text


async def test_the_hello_is_the_gateways_name_unless_another_is_given(tmp_path):
    for given, hello in (({}, "mx.example.org"), ({"hello_name": HOSTNAME}, HOSTNAME)):
        async with listening(tmp_path) as (server, taken), connected(server, **given) as connector:
            await connector.emit(plain_mail())
        assert [each.envelope.transaction.hello for each in taken.mails.values()] == [hello]


async def test_flatten_in_the_settings_flattens_for_a_server_with_metadata_too(tmp_path):
    async with listening(tmp_path, dialect=LMTP) as (server, taken), connected(server, protocol="lmtp") as connector:
        destination = Destination(connector, name="next", metadata="flatten", deadline_seconds=SECONDS, max_in_flight=1)
        mail = plain_mail()
        receipt = await destination.deliver(mail)
        (found,) = taken.mails.values()
    assert receipt.location["metadata"] == "flattened"
    assert found.content.read().startswith(b"Received: ")
    assert found.content.read().endswith(mail.content.read())
    assert len(found.envelope.metadata.containers) == 1, "none but that of the second gateway"


async def test_a_connector_that_is_not_open_takes_nothing():
    connector = make_connector(("127.0.0.1", 2525))
    with pytest.raises(TransientFailure):
        await connector.emit(plain_mail())
