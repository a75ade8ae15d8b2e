"""One mail to the mail exchangers of its recipients' domains: which host gets it, and when the next one does."""

import asyncio

import pytest
from msgspec import structs

from connectors.smtp.attempt import Host
from connectors.smtp.exchangers import DnsExchangers
from gateway.address import parse_path
from gateway.connector import PermanentFailure, TransientFailure
from gateway.envelope import Mail, Recipient
from gateway.sockets import TcpBind
from gateway.status import Status
from gateway.testing import plain_mail
from tests.connectors.smtp.connectors import connected
from tests.connectors.smtp.names import Names
from tests.connectors.smtp.scripted import HELLO, Scripted
from tests.servers.ports import free_port

METADATA = (*HELLO, "CHUNKING", "METADATA")


class Known:
    """Exchangers that a test names: (preference, server) for each domain, or the failure of the lookup."""

    def __init__(self, **domains):
        self._domains = {f"{domain}.example": found for domain, found in domains.items()}

    async def hosts(self, domain, *, own_name):
        found = self._domains[domain]
        if isinstance(found, Exception):
            raise found
        return [
            Host(name=f"mx{number}.{domain}", server=TcpBind(*server), preference=preference)
            for number, (preference, server) in enumerate(found)
        ]


def mail_to(*addresses):
    mail = plain_mail()
    recipients = tuple(Recipient(address=parse_path(each.encode(), utf8=False)) for each in addresses)
    transaction = structs.replace(mail.envelope.envelope, recipients=recipients)
    return Mail(structs.replace(mail.envelope, envelope=transaction), mail.content)


def nobody():
    return ("127.0.0.1", free_port())


async def test_recipients_go_by_domain_each_to_a_host_of_theirs():
    async with Scripted() as one, Scripted() as two:
        known = Known(a=[(5, one.address)], b=[(5, two.address)])
        async with connected(exchangers=known) as connector:
            receipt = await connector.emit(mail_to("x@a.example", "y@B.example", "z@A.example"))
        assert [each[1] for each in one.mails] == [["RCPT TO:<x@a.example>", "RCPT TO:<z@A.example>"]]
        assert [each[1] for each in two.mails] == [["RCPT TO:<y@B.example>"]]
        assert receipt.location["host"] == "mx0.a.example"
        assert receipt.location["host-2"] == "mx0.b.example"
        assert receipt.refused == ()


async def test_a_domain_that_fails_costs_only_its_own_recipients():
    no_mail = PermanentFailure(Status(5, 1, 10), "the domain takes no mail")
    async with Scripted() as one:
        known = Known(a=no_mail, b=[(5, one.address)], c=[(5, nobody())])
        async with connected(exchangers=known) as connector:
            receipt = await connector.emit(mail_to("x@a.example", "y@b.example", "z@c.example"))
    assert [(each.position, str(each.failure.status)) for each in receipt.refused] == [(0, "5.1.10"), (2, "4.4.1")]


async def test_where_no_domain_takes_the_mail_it_has_failed():
    no_mail = PermanentFailure(Status(5, 1, 10), "the domain takes no mail")
    async with connected(exchangers=Known(a=no_mail, b=[(5, nobody())])) as connector:
        with pytest.raises(PermanentFailure) as raised:
            await connector.emit(mail_to("x@a.example"))
        assert str(raised.value.status) == "5.1.10"
        with pytest.raises(TransientFailure):
            await connector.emit(mail_to("x@a.example", "y@b.example"))


@pytest.mark.parametrize(
    "fault",
    [
        {"greeting": ["421 4.3.2 later"]},
        {"greeting": ["554 5.3.2 never"]},
        {"greeting": [None]},
        {"EHLO": ["421 4.3.2 later"]},
        {"MAIL": ["451 4.7.1 later"]},
        {"MAIL": [None]},
        {"RCPT": ["450 4.2.0 greylisted"]},
        {"DATA": ["451 4.3.0 later"]},
        {"end": ["451 4.3.0 later"]},
    ],
    ids=str,
)
async def test_a_host_that_cannot_take_the_mail_now_is_followed_by_the_next_one(fault):
    async with Scripted(**fault) as first, Scripted() as second:
        known = Known(a=[(5, nobody()), (5, first.address), (10, second.address)])
        async with connected(exchangers=known) as connector:
            receipt = await connector.emit(mail_to("x@a.example"))
        assert receipt.location["host"] == "mx2.a.example"
        assert len(second.mails) == 1
        assert not first.mails


@pytest.mark.parametrize(
    ("fault", "failure", "possibly_stored"),
    [
        ({"RCPT": ["550 5.1.1 nobody"]}, PermanentFailure, False),
        ({"end": ["554 5.7.1 spam"]}, PermanentFailure, False),
        ({"end": [None]}, TransientFailure, True),
    ],
    ids=str,
)
async def test_a_host_that_has_decided_or_may_have_the_mail_is_the_last(fault, failure, possibly_stored):
    async with Scripted(**fault) as first, Scripted() as second:
        known = Known(a=[(5, first.address), (10, second.address)])
        async with connected(exchangers=known) as connector:
            with pytest.raises(failure) as raised:
                await connector.emit(mail_to("x@a.example"))
        assert getattr(raised.value, "possibly_stored", False) == possibly_stored
        assert not second.sessions


async def test_a_host_that_took_some_is_the_last_for_the_others():
    async with Scripted(RCPT=["250 ok", "450 4.2.1 later"]) as first, Scripted() as second:
        known = Known(a=[(5, first.address), (10, second.address)])
        async with connected(exchangers=known) as connector:
            receipt = await connector.emit(mail_to("x@a.example", "y@a.example"))
        assert [(each.position, str(each.failure.status)) for each in receipt.refused] == [(1, "4.2.1")]
        assert not second.sessions


async def test_among_equals_the_one_that_takes_metadata_is_first():
    for _ in range(8):
        async with Scripted() as plain, Scripted(offers=METADATA) as conforming, Scripted() as other:
            known = Known(a=[(5, plain.address), (5, conforming.address), (5, other.address)])
            async with connected(exchangers=known) as connector:
                receipt = await connector.emit(mail_to("x@a.example"))
                await connector.emit(mail_to("x@a.example"))
            assert receipt.location["host"] == "mx1.a.example"
            assert len(conforming.mails) == 2
            assert len(plain.sessions) == len(other.sessions) == 1, "an equal is asked once what it offers"


async def test_preference_comes_before_metadata():
    async with Scripted() as plain, Scripted(offers=METADATA) as conforming:
        known = Known(a=[(5, plain.address), (10, conforming.address)])
        async with connected(exchangers=known) as connector:
            await connector.emit(mail_to("x@a.example"))
        assert len(plain.mails) == 1
        assert not conforming.sessions


async def test_an_equal_that_is_silent_does_not_hold_a_mail_up(monkeypatch):
    monkeypatch.setattr("connectors.smtp.attempt._ASKING_SECONDS", 1)
    async with Scripted(greeting=[""]) as silent, Scripted(offers=METADATA) as conforming:
        known = Known(a=[(5, silent.address), (5, conforming.address)])
        async with connected(exchangers=known) as connector:
            await asyncio.wait_for(connector.emit(mail_to("x@a.example")), 20)
        assert len(conforming.mails) == 1


async def test_an_equal_that_does_not_say_what_it_offers_is_not_asked_for_every_mail():
    async with Scripted(greeting=["421 4.3.2 later"]) as closed, Scripted() as plain:
        known = Known(a=[(5, closed.address), (5, plain.address)])
        async with connected(exchangers=known) as connector:
            for _ in range(40):
                await connector.emit(mail_to("x@a.example"))
    # It is the first of the two for one half of the mails, but for that.
    assert 1 < len(closed.sessions) < 40


async def test_a_domain_that_fails_says_nothing_about_the_others():
    async with connected(exchangers=Known(a=[(5, nobody())])) as connector:
        with pytest.raises(TransientFailure) as raised:
            await connector.emit(mail_to("x@a.example"))
    assert raised.value.about_mail


async def test_a_lookup_that_takes_too_long_ends_with_the_attempt():
    class Slow:
        async def hosts(self, domain, *, own_name):
            await asyncio.Event().wait()

    async with connected(exchangers=Slow(), deadline_seconds=6) as connector:
        with pytest.raises(TransientFailure) as raised:
            await asyncio.wait_for(connector.emit(mail_to("x@a.example")), 6)
    assert (str(raised.value.status), raised.value.possibly_stored) == ("4.4.2", False)


async def test_the_dns_says_where_and_in_which_order():
    """The whole way, with a DNS server on loopback and a mail server at each of two loopback addresses."""
    port = free_port()
    zone = {
        ("a.example", "MX"): ["10 one.a.example.", "20 two.a.example."],
        ("one.a.example", "A"): ["127.0.0.2"],
        ("two.a.example", "A"): ["127.0.0.3"],
        ("none.example", "MX"): ["0 ."],
    }
    async with (
        Names(zone) as names,
        Scripted(host="127.0.0.2", port=port, MAIL=["250 ok", "421 4.3.2 shutting down"]) as one,
        Scripted(host="127.0.0.3", port=port) as two,
        connected(exchangers=DnsExchangers(port=port, nameservers=[names.address]), port=port) as connector,
    ):
        receipts = [await connector.emit(mail_to("x@a.example", "y@none.example")) for _ in range(2)]
        assert (len(one.mails), len(two.mails)) == (1, 1)
    assert [(each.location["host"], each.location["address"]) for each in receipts] == [
        ("one.a.example", "127.0.0.2"),
        ("two.a.example", "127.0.0.3"),
    ]
    assert {str(each.refused[0].failure.status) for each in receipts} == {"5.1.10"}


async def test_a_mail_with_more_domains_than_connections_is_delivered():
    async with Scripted() as server:
        known = Known(**{f"d{number}": [(5, server.address)] for number in range(30)})
        async with connected(exchangers=known, max_connections=2) as connector:
            await connector.emit(mail_to(*(f"x@d{number}.example" for number in range(30))))
        assert len(server.mails) == 30
        assert server.most_at_once <= 2
