"""Referrals are followed to servers that are listed, as far as they lead, and to no other."""

import asyncio
import ipaddress
import ssl
from contextlib import AsyncExitStack
from itertools import pairwise

import pytest
import trustme

from connectors.smtp.attempt import Attempts, Host
from connectors.smtp.pool import Pool
from gateway.connector import PermanentFailure, TransientFailure
from gateway.envelope import Parameter
from gateway.ingress.reply_metadata import OfferedCodes, ReplyMetadata
from gateway.relay.handover import Referred
from gateway.relay.session import Access, Login
from gateway.smtp import DIALECTS, SMTP, Policy
from gateway.smtp.referral import parse_referral
from gateway.sockets import TcpBind
from tests.connectors.smtp.connectors import connected
from tests.connectors.smtp.scripted import HELLO, Scripted
from tests.connectors.smtp.test_delivery import mail_to, refused
from tests.connectors.smtp.test_real_servers import mail_to as whole_mail_to
from tests.relay.servers import listening
from tests.servers.ports import free_port

REFERRALS = ReplyMetadata(offered=(OfferedCodes(names=("REFERRAL",), networks=(ipaddress.ip_network("127.0.0.0/8"),)),))
SECONDS = 20
LOOPBACK = ("127.0.0.0/8",)
OFFERED = (*HELLO, "XREPLYMETA REFERRAL")
DSN = (*OFFERED, "DSN")
TAKEN = "250 2.1.5 ok"


def url(server, *, scheme="smtp", user="", host=None):
    name, port = server if isinstance(server, tuple) else server.address
    return f"{scheme}://{user}{host or name}:{port}/"


def to(server, **parts):
    """The reply to a RCPT that refers to `server`."""
    return f'450 4.4.4 [REFERRAL "{url(server, **parts)}"] elsewhere'


def say(server, *replies, verb="RCPT"):
    server._replies[verb] = list(replies)


def heard(server, verb):
    return [line for session in server.sessions for line in session.heard if line[: len(verb)] == verb]


async def failure_of(connector, mail):
    with pytest.raises((TransientFailure, PermanentFailure)) as raised:
        await connector.emit(mail)
    return raised.value


async def test_a_referred_recipient_goes_there_with_the_same_parameters_and_the_others_stay():
    parameters = (
        Parameter(keyword="NOTIFY", value="FAILURE"),
        Parameter(keyword="ORCPT", value="rfc822;x@example.net"),
    )
    mail = mail_to("a@example.org", "b@example.org", parameters=parameters)
    async with (
        Scripted(offers=DSN) as backend,
        Scripted(offers=DSN) as proxy,
        connected(proxy.address, follow_referrals=LOOPBACK) as connector,
    ):
        say(proxy, TAKEN, to(backend))
        receipt = await connector.emit(mail)
        ((first, (one,), here),) = proxy.mails
        ((second, (other,), there),) = backend.mails
    assert (receipt.refused, receipt.notifying) == ((), (0, 1))
    assert receipt.location["port"] == proxy.address[1]
    assert receipt.location["port-2"] == backend.address[1]
    assert first == second
    assert " XREPLYMETA=REFERRAL" in first
    assert one == "RCPT TO:<a@example.org> NOTIFY=FAILURE ORCPT=rfc822;x@example.net"
    assert other == one.replace("<a@", "<b@")
    assert here == there
    assert here.endswith(mail.content.read())


async def test_recipients_who_are_referred_to_one_server_go_there_together():
    async with Scripted() as backend, Scripted(offers=OFFERED) as proxy:
        async with connected(proxy.address, follow_referrals=LOOPBACK) as connector:
            say(proxy, to(backend))
            receipt = await connector.emit(mail_to("a@example.org", "b@example.org"))
        ((_, recipients, _),) = backend.mails
    assert recipients == ["RCPT TO:<a@example.org>", "RCPT TO:<b@example.org>"]
    assert proxy.mails == []
    assert receipt.location["port"] == backend.address[1]


async def test_a_referral_may_name_another_recipient_and_lead_to_lmtp():
    async with Scripted(lmtp=True) as store, Scripted(offers=OFFERED) as middle, Scripted(offers=OFFERED) as proxy:
        async with connected(proxy.address, follow_referrals=LOOPBACK) as connector:
            say(proxy, to(middle, user="box%2Bb%40store.example.org@"))
            say(middle, to(store, scheme="lmtp"))
            await connector.emit(mail_to("b@example.org"))
        assert heard(middle, "RCPT") == heard(store, "RCPT") == ["RCPT TO:<box+b@store.example.org>"]
        assert heard(store, "LHLO")
        assert len(store.mails) == 1


async def test_what_the_target_says_of_a_recipient_counts():
    async with (
        Scripted(RCPT=["550 5.1.1 nobody"]) as backend,
        Scripted(offers=OFFERED) as proxy,
        connected(proxy.address, follow_referrals=LOOPBACK) as connector,
    ):
        say(proxy, TAKEN, to(backend))
        receipt = await connector.emit(mail_to("a@example.org", "b@example.org"))
    assert refused(receipt) == [(1, "5.1.1")]


async def test_a_target_that_cannot_be_reached_leaves_its_recipients_for_another_time():
    async with Scripted(offers=OFFERED) as proxy, connected(proxy.address, follow_referrals=LOOPBACK) as connector:
        say(proxy, TAKEN, to(("127.0.0.1", free_port())))
        receipt = await connector.emit(mail_to("a@example.org", "b@example.org"))
    assert refused(receipt) == [(1, "4.4.1")]
    # The proxy is in order, so nothing waits for it.
    assert receipt.refused[0].failure.about_mail


async def test_nothing_is_kept_for_the_next_mail():
    async with (
        Scripted() as backend,
        Scripted(offers=OFFERED) as proxy,
        connected(proxy.address, follow_referrals=LOOPBACK) as connector,
    ):
        say(proxy, to(backend), TAKEN)
        for _ in range(2):
            await connector.emit(mail_to("a@example.org"))
    assert (len(backend.mails), len(proxy.mails)) == (1, 1)


async def test_a_proxy_that_refers_every_mail_and_has_enough_of_it_costs_nothing():
    async with (
        Scripted() as backend,
        Scripted(offers=OFFERED, RSET=["421 4.7.0 too many commands without mail"]) as proxy,
        connected(proxy.address, follow_referrals=LOOPBACK) as connector,
    ):
        say(proxy, to(backend))
        for _ in range(3):
            await connector.emit(mail_to("a@example.org"))
    assert len(backend.mails) == 3


# Loops.


async def test_a_circle_ends_where_it_closes():
    async with (
        Scripted(offers=OFFERED) as first,
        Scripted(offers=OFFERED) as second,
        connected(first.address, follow_referrals=LOOPBACK) as connector,
    ):
        say(first, to(second))
        say(second, to(first))
        failure = await failure_of(connector, mail_to("a@example.org"))
    assert isinstance(failure, PermanentFailure)
    assert str(failure.status) == "5.4.6"
    assert (len(heard(first, "RCPT")), len(heard(second, "RCPT"))) == (1, 1)


async def test_a_server_that_refers_to_itself_is_a_circle_under_any_name():
    async with Scripted(offers=OFFERED) as proxy:
        for name in ("127.0.0.1", "localhost", "LOCALHOST", "[::ffff:127.0.0.1]"):
            async with connected(proxy.address, follow_referrals=LOOPBACK) as connector:
                say(proxy, to(proxy, host=name))
                failure = await failure_of(connector, mail_to("a@example.org"))
            assert str(failure.status) == "5.4.6"
    assert len(heard(proxy, "RCPT")) == 4


async def test_a_circle_is_one_although_the_first_server_is_not_listed():
    async with (
        Scripted(offers=OFFERED) as first,
        Scripted(offers=OFFERED) as second,
        connected(first.address, follow_referrals=("localhost",)) as connector,
    ):
        say(first, to(second, host="localhost"))
        say(second, to(first))
        failure = await failure_of(connector, mail_to("a@example.org"))
    assert str(failure.status) == "5.4.6"


async def test_a_name_in_other_letters_is_the_same_server():
    async with (
        Scripted(offers=OFFERED) as proxy,
        connected(("LocalHost", proxy.address[1]), follow_referrals=("localhost",)) as connector,
    ):
        say(proxy, to(proxy, host="localhost"))
        failure = await failure_of(connector, mail_to("a@example.org"))
    assert str(failure.status) == "5.4.6"
    assert len(heard(proxy, "RCPT")) == 1


async def test_a_referral_to_this_host_is_a_circle():
    async with (
        Scripted(offers=OFFERED) as proxy,
        connected(proxy.address, follow_referrals=("*.example.net",), hello_name="gw.example.net") as connector,
    ):
        say(proxy, to(proxy, host="GW.example.net"))
        failure = await failure_of(connector, mail_to("a@example.org"))
    assert str(failure.status) == "5.4.6"


@pytest.mark.parametrize(("referrals", "status"), [(10, ""), (11, "5.4.6")])
async def test_ten_referrals_are_followed_and_no_more(referrals, status):
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(Scripted(offers=OFFERED)) for _ in range(referrals + 1)]
        for server, following in pairwise(servers):
            say(server, to(following))
        connector = await stack.enter_async_context(connected(servers[0].address, follow_referrals=LOOPBACK))
        if status:
            assert str((await failure_of(connector, mail_to("a@example.org"))).status) == status
        else:
            await connector.emit(mail_to("a@example.org"))
        assert len(servers[-1].mails) == (0 if status else 1)
        assert len(servers[-2].sessions) == 1


async def test_each_recipient_has_its_own_way():
    """One's circle is no circle for another who has come from elsewhere."""
    async with Scripted(offers=OFFERED) as proxy, Scripted(offers=OFFERED) as one, Scripted(offers=OFFERED) as two:
        async with connected(proxy.address, follow_referrals=LOOPBACK) as connector:
            say(proxy, to(one), to(two))
            say(one, to(two))
            say(two, TAKEN, to(one), to(one))
            receipt = await connector.emit(mail_to("a@example.org", "b@example.org"))
        # b goes by `two`; a by `one` and then `two`, which refers it back.
        assert refused(receipt) == [(0, "5.4.6")]
        assert [recipients for _, recipients, _ in two.mails] == [["RCPT TO:<b@example.org>"]]


# Who is believed, and how far.


@pytest.mark.parametrize(
    ("allowed", "host"),
    [
        (("10.0.0.0/8", "backend*.example.org"), "127.0.0.1"),
        (("10.0.0.0/8", "backend*.example.org"), "localhost"),
        (("backend*.example.org",), "evil.example.org"),
        (("backend*.example.org",), "backend.evil.example.org"),
        (("backend*.example.org",), "backend1.example.org.evil.example"),
        (("*host*",), "127.0.0.1"),
        (("*.*.*.*",), "127.0.0.1"),
    ],
)
async def test_a_target_that_is_not_listed_is_never_spoken_to(allowed, host):
    async with (
        Scripted() as target,
        Scripted(offers=OFFERED) as proxy,
        connected(proxy.address, follow_referrals=allowed) as connector,
    ):
        say(proxy, to(target, host=host))
        failure = await failure_of(connector, mail_to("a@example.org"))
    assert isinstance(failure, TransientFailure)
    assert str(failure.status) == "4.4.4"
    assert target.sessions == []


@pytest.mark.parametrize(
    ("allowed", "host"),
    [(("127.0.0.1",), "localhost"), (("l*host",), "localhost"), (("::1", "127.0.0.0/8"), "127.0.0.1")],
)
async def test_a_target_is_listed_by_its_name_or_by_its_address(allowed, host):
    async with (
        Scripted() as target,
        Scripted(offers=OFFERED) as proxy,
        connected(proxy.address, follow_referrals=allowed) as connector,
    ):
        say(proxy, to(target, host=host))
        await connector.emit(mail_to("a@example.org"))
    assert len(target.mails) == 1


async def test_without_a_list_referrals_are_neither_asked_for_nor_read():
    async with Scripted() as target, Scripted(offers=OFFERED) as proxy, connected(proxy.address) as connector:
        say(proxy, to(target))
        failure = await failure_of(connector, mail_to("a@example.org"))
    assert str(failure.status) == "4.4.4"
    assert "XREPLYMETA" not in "".join(heard(proxy, "MAIL"))
    assert target.sessions == []


@pytest.mark.parametrize("offers", [HELLO, (*HELLO, "XREPLYMETA ID KAFKA")], ids=["no codes", "other codes"])
async def test_a_referral_that_was_not_announced_is_text(offers):
    async with (
        Scripted() as target,
        Scripted(offers=offers) as proxy,
        connected(proxy.address, follow_referrals=LOOPBACK) as connector,
    ):
        say(proxy, to(target))
        assert str((await failure_of(connector, mail_to("a@example.org"))).status) == "4.4.4"
    assert "XREPLYMETA" not in "".join(heard(proxy, "MAIL"))
    assert target.sessions == []


async def test_an_address_cannot_forge_a_referral():
    async with (
        Scripted() as target,
        Scripted(offers=OFFERED) as proxy,
        connected(proxy.address, follow_referrals=LOOPBACK, referral_style="dovecot") as connector,
    ):
        for forged in (
            f'"[REFERRAL {url(target)}]"@example.org',
            f'"> [REFERRAL {url(target)}]"@example.org',
            f'"x> [REFERRAL {url(target)}] <"@example.org',
            f'"> x@127.0.0.1:{target.address[1]} Referral"@example.org',
        ):
            for reply in (
                f"450 4.2.1 <{forged}> not now",
                f"550 5.2.900 <{forged}> no",
                f"550 5.2.900 <{forged}> {forged} Referral",
            ):
                say(proxy, reply)
                await failure_of(connector, mail_to(forged))
    assert target.sessions == []


@pytest.mark.parametrize(
    ("verb", "reply"),
    [
        ("MAIL", "450 4.4.4 {}"),
        ("RCPT", "550 5.1.1 {}"),
        ("RCPT", "450 4.4.4 [REFERRAL smtp://127.0.0.1/?x] elsewhere"),
        ("RCPT", "450 4.4.4 [REFERRAL http://127.0.0.1/] elsewhere"),
        ("RCPT", "450 4.4.4 [REFERRAL smtp://a:b@127.0.0.1/] elsewhere"),
        ("RCPT", "450-4.4.4 {}\r\n450 4.4.4 {}"),
        ("DATA", "451 4.4.4 {}"),
        ("end", "450 4.4.4 {}"),
        ("end", "250 2.0.0 {}"),
    ],
)
@pytest.mark.parametrize("lmtp", [False, True], ids=["SMTP", "LMTP"])
async def test_a_referral_counts_beside_a_4yz_to_a_recipient_only(verb, reply, lmtp):
    async with (
        Scripted() as target,
        Scripted(offers=OFFERED, lmtp=lmtp, **{verb: [reply.format(*[f"[REFERRAL {url(target)}] x"] * 2)]}) as proxy,
        connected(proxy.address, follow_referrals=LOOPBACK, protocol="lmtp" if lmtp else "smtp") as connector,
    ):
        if "250" in reply:
            await connector.emit(mail_to("a@example.org"))
        else:
            failure = await failure_of(connector, mail_to("a@example.org"))
            assert isinstance(failure, PermanentFailure if reply.startswith("5") else TransientFailure)
    assert target.sessions == []


@pytest.mark.parametrize("offers", [HELLO, OFFERED], ids=["no codes", "codes"])
async def test_dovecots_form_is_read_where_it_is_expected(offers):
    async with Scripted(lmtp=True) as target, Scripted(offers=offers, lmtp=True) as proxy:
        port = target.address[1]
        for style, user in (
            ({"referral_style": "dovecot"}, "a@example.org@"),
            ({"referral_style": "dovecot"}, ""),
            ({"referral_style": "dovecot"}, "box@"),
            ({}, "a@example.org@"),
        ):
            say(proxy, f"550 5.2.900 <a@example.org> {user}127.0.0.1:{port} Referral")
            async with connected(proxy.address, protocol="lmtp", follow_referrals=LOOPBACK, **style) as connector:
                if style:
                    await connector.emit(mail_to("a@example.org"))
                else:
                    assert str((await failure_of(connector, mail_to("a@example.org"))).status) == "5.2.900"
    there = [recipients for _, recipients, _ in target.mails]
    assert there == [["RCPT TO:<a@example.org>"]] * 2 + [["RCPT TO:<box@example.org>"]]


async def test_a_server_that_refers_has_decided_and_no_other_of_its_addresses_is_asked():
    async with Scripted(offers=OFFERED) as one, Scripted() as other:
        say(one, to(other))
        pool = Pool(max_connections=5, max_mails=5, idle_seconds=5)
        access = Access(dialect=SMTP, hello_name="gw.example.net", referrals="structured")
        hosts = [Host(name="backend", server=TcpBind(*server.address)) for server in (one, other)]
        until = asyncio.get_running_loop().time() + SECONDS
        outcome = await Attempts(pool, lambda *_: access).hand_over(mail_to("a@example.org"), hosts, until=until)
        await pool.close()
    assert isinstance(outcome.verdicts[0], Referred)
    assert other.sessions == []


# What goes along, and what does not.


async def test_the_password_of_one_server_is_never_given_to_another():
    offers = (*OFFERED, "AUTH PLAIN LOGIN")
    async with (
        Scripted(offers=offers) as target,
        Scripted(offers=offers, AUTH=["235 2.7.0 ok"]) as proxy,
        connected(proxy.address, follow_referrals=LOOPBACK, username="ann", password="secret") as connector,
    ):
        say(proxy, to(target))
        for _ in range(2):
            await connector.emit(mail_to("a@example.org"))
    assert heard(proxy, "AUTH")
    assert not heard(target, "AUTH")
    assert len(target.mails) == 2


async def test_a_kept_session_serves_only_whoever_would_begin_it_the_same_way():
    async with Scripted(offers=(*OFFERED, "AUTH PLAIN"), AUTH=["235 2.7.0 ok"]) as server:
        where = TcpBind(*server.address)
        pool = Pool(max_connections=5, max_mails=5, idle_seconds=5)
        known = Access(dialect=SMTP, hello_name="gw.example.net", login=Login(user="ann", password="secret"))
        unknown = Access(dialect=SMTP, hello_name="gw.example.net")
        first = await pool.take(where, known)
        await pool.give_back(first)
        second = await pool.take(where, unknown)
        third = await pool.take(where, known)
        await pool.give_back(second)
        await pool.give_back(third)
        await pool.close()
    assert second is not first
    assert third is first


@pytest.mark.parametrize("use", ["required", "implicit"])
@pytest.mark.parametrize(("certificate", "arrives"), [("127.0.0.1", True), ("other.example.org", False), ("", False)])
async def test_the_target_needs_the_same_tls(tmp_path, use, certificate, arrives):
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")

    def tls(name):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(name).configure_cert(context)
        policy = Policy(message_octets=1_000_000, starttls=use == "required", reply_codes=True)
        return {"policy": policy, "tls": context, "implicit_tls": use == "implicit"}

    async with AsyncExitStack() as stack:
        where, taken = await stack.enter_async_context(listening(tmp_path, **(tls(certificate) if certificate else {})))
        referring = {"referral": parse_referral(url(where)), "reply_metadata": REFERRALS}
        proxy, _ = await stack.enter_async_context(listening(tmp_path, **tls("127.0.0.1"), **referring))
        connector = await stack.enter_async_context(
            connected(proxy, tls=use, tls_ca_file=tmp_path / "ca.pem", follow_referrals=LOOPBACK)
        )
        if arrives:
            await connector.emit(mail_to("a@example.org"))
        else:
            assert isinstance(await failure_of(connector, mail_to("a@example.org")), TransientFailure)
    assert [mail.envelope.transaction.protocol for mail in taken.mails.values()] == ["UTF8SMTPS"] * arrives


# Gateways that refer, and what a mail is when it has been referred.


@pytest.mark.parametrize("scheme", ["smtp", "lmtp"])
async def test_a_mail_that_is_referred_is_the_same_mail_with_all_its_containers(tmp_path, scheme):
    mail = whole_mail_to("bob@example.org", notify="FAILURE")
    async with AsyncExitStack() as stack:
        where, taken = await stack.enter_async_context(
            listening(tmp_path, dialect=DIALECTS[scheme], hostname="backend.example.org")
        )
        proxy, passed = await stack.enter_async_context(
            listening(
                tmp_path,
                policy=Policy(message_octets=1_000_000, reply_codes=True),
                referral=parse_referral(url(where, scheme=scheme)),
                reply_metadata=REFERRALS,
            )
        )
        connector = await stack.enter_async_context(connected(proxy, follow_referrals=LOOPBACK))
        await connector.emit(mail)
        (found,) = taken.mails.values()
    assert passed.mails == {}
    assert found.envelope.envelope.recipients == mail.envelope.envelope.recipients
    assert found.envelope.envelope.mail_from.address == mail.envelope.envelope.mail_from.address
    own, *received = found.envelope.metadata.containers
    assert b"by backend.example.org" in own.data
    assert [(each.type, each.data) for each in received] == [
        (each.type, each.data) for each in mail.envelope.metadata.containers
    ]
    assert found.content.read() == mail.content.read()
    assert found.envelope.message.sha256 == mail.envelope.message.sha256
