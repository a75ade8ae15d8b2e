"""Where the mail of a domain goes, by a DNS server on loopback."""

import pytest

from connectors.smtp.attempt import Host
from connectors.smtp.exchangers import DnsExchangers
from gateway.connector import PermanentFailure, TransientFailure
from gateway.sockets import TcpBind
from tests.connectors.smtp.names import FAILING, Names

US = "gw.example.net"
A = {("one.example.org", "A"): ["192.0.2.1"], ("two.example.org", "A"): ["192.0.2.2"]}


async def hosts_of(domain, zone, *, own_name=US):
    async with Names(zone) as names:
        exchangers = DnsExchangers(port=25, nameservers=[names.address])
        return [(each.name, each.preference) for each in await exchangers.hosts(domain, own_name=own_name)]


async def failure_of(domain, zone, *, own_name=US):
    with pytest.raises((PermanentFailure, TransientFailure)) as raised:
        await hosts_of(domain, zone, own_name=own_name)
    assert raised.value.text.isascii()
    return type(raised.value), str(raised.value.status)


async def test_the_lowest_preference_comes_first():
    zone = {("example.org", "MX"): ["20 one.example.org.", "5 two.example.org."], **A}
    assert await hosts_of("example.org", zone) == [("two.example.org", 5), ("one.example.org", 20)]


async def test_equals_come_in_any_order():
    zone = {("example.org", "MX"): ["10 one.example.org.", "10 two.example.org."], **A}
    orders = {tuple(await hosts_of("example.org", zone)) for _ in range(50)}
    assert len(orders) == 2


async def test_every_address_of_a_host_is_one_to_try():
    zone = {
        ("example.org", "MX"): ["10 one.example.org."],
        ("one.example.org", "A"): ["192.0.2.1", "192.0.2.2"],
        ("one.example.org", "AAAA"): ["2001:db8::1"],
    }
    async with Names(zone) as names:
        found = await DnsExchangers(port=2525, nameservers=[names.address]).hosts("example.org", own_name=US)
    assert {each.server for each in found} == {
        TcpBind(address, 2525) for address in ("192.0.2.1", "192.0.2.2", "2001:db8::1")
    }


async def test_however_many_addresses_there_are_of_one_kind_the_other_kind_is_tried_too():
    zone = {
        ("one.example.org", "A"): ["192.0.2.1"],
        ("one.example.org", "AAAA"): [f"2001:db8::{number}" for number in range(1, 9)],
    }
    async with Names(zone) as names:
        found = await DnsExchangers(port=25, nameservers=[names.address]).hosts("one.example.org", own_name=US)
    assert "192.0.2.1" in {each.server.host for each in found}
    assert len(found) == 3


async def test_a_domain_without_exchangers_is_its_own():
    assert await hosts_of("one.example.org", A) == [("one.example.org", 0)]


@pytest.mark.parametrize(("domain", "address"), [("[192.0.2.7]", "192.0.2.7"), ("[IPv6:2001:db8::7]", "2001:db8::7")])
async def test_an_address_literal_asks_nobody(domain, address):
    async with Names({}) as names:
        found = await DnsExchangers(port=25, nameservers=[names.address]).hosts(domain, own_name=US)
        assert names.asked == []
    assert found == (Host(name=address, server=TcpBind(address, 25)),)


async def test_a_domain_in_utf8_is_looked_up_in_its_ascii_form():
    zone = {("xn--bcher-kva.example", "MX"): ["10 one.example.org."], **A}
    assert await hosts_of("bücher.example", zone) == [("one.example.org", 10)]


async def test_a_host_without_an_address_is_passed_over():
    zone = {("example.org", "MX"): ["5 none.example.org.", "10 one.example.org."], **A}
    assert await hosts_of("example.org", zone) == [("one.example.org", 10)]


async def test_a_host_whose_address_is_not_told_now_is_passed_over():
    zone = {("example.org", "MX"): ["5 ill.example.org.", "10 one.example.org."], "ill.example.org": FAILING, **A}
    assert await hosts_of("example.org", zone) == [("one.example.org", 10)]


async def test_this_host_and_those_behind_it_are_left_out():
    zone = {("example.org", "MX"): ["5 one.example.org.", "10 GW.example.net.", "20 two.example.org."], **A}
    assert await hosts_of("example.org", zone) == [("one.example.org", 5)]


@pytest.mark.parametrize(
    ("domain", "zone", "failure"),
    [
        ("example.org", {("example.org", "MX"): ["0 ."]}, (PermanentFailure, "5.1.10")),
        ("example.org", {}, (PermanentFailure, "5.1.2")),
        ("", {}, (PermanentFailure, "5.1.2")),
        ("a..example.org", {}, (PermanentFailure, "5.1.2")),
        ("x" * 64 + ".example.org", {}, (PermanentFailure, "5.1.2")),
        ("[x-tag:y]", {}, (PermanentFailure, "5.1.2")),
        ("example.org", {"example.org": FAILING}, (TransientFailure, "4.4.3")),
        ("example.org", {("example.org", "TXT"): ["x"]}, (PermanentFailure, "5.4.4")),
        ("example.org", {("example.org", "MX"): ["5 none.example.org."]}, (PermanentFailure, "5.4.4")),
        (
            "example.org",
            {("example.org", "MX"): ["5 ill.example.org."], "ill.example.org": FAILING},
            (TransientFailure, "4.4.3"),
        ),
        ("example.org", {("example.org", "MX"): [f"5 {US}.", "5 one.example.org."], **A}, (PermanentFailure, "5.4.6")),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_a_domain_to_which_no_mail_can_go(domain, zone, failure):
    assert await failure_of(domain, zone) == failure


async def test_an_answer_is_asked_for_once():
    zone = {("example.org", "MX"): ["5 one.example.org."], **A}
    async with Names(zone) as names:
        exchangers = DnsExchangers(port=25, nameservers=[names.address])
        await exchangers.hosts("example.org", own_name=US)
        asked = list(names.asked)
        await exchangers.hosts("EXAMPLE.org", own_name=US)
        assert names.asked == asked


async def test_a_dns_server_that_is_silent_is_left_in_time(monkeypatch):
    monkeypatch.setattr("connectors.smtp.exchangers._LOOKUP_SECONDS", 0.2)

    class Silent(Names):
        def datagram_received(self, octets, client):
            self.asked.append(octets)

    async with Silent({}) as names:
        exchangers = DnsExchangers(port=25, nameservers=[names.address])
        with pytest.raises(TransientFailure) as raised:
            await exchangers.hosts("example.org", own_name=US)
        assert names.asked
    assert str(raised.value.status) == "4.4.3"
