"""Response codes are offered by the address that a client has, or that its proxy announces."""

import ipaddress

import pytest

from gateway.ingress.reply_metadata import OfferedCodes, ReplyMetadata
from tests.ingress.gateway import HELLO, gateway, settings
from tests.ingress.test_behind_proxies import TRUSTED, V1

LOOPBACK = ipaddress.ip_network("127.0.0.0/8")
ANNOUNCED = ipaddress.ip_network("198.51.100.0/24")


def offering(tmp_path, *families, **changed):
    codes = tuple(OfferedCodes(names=names, networks=networks) for names, networks in families)
    return settings(tmp_path, policy={"reply_codes": True}, reply_metadata=ReplyMetadata(offered=codes), **changed)


async def offered(listener_settings, *octets: bytes) -> list[str] | None:
    """What stands behind the keyword in the reply to EHLO, None without the keyword."""
    async with gateway(listener_settings) as running, await running.open() as connection:
        connection.send(*octets, HELLO)
        await connection.reply()
        lines = await connection.reply()
    return next((line[4:].split()[1:] for line in lines if line[4:].startswith("XREPLYMETA")), None)


async def test_a_client_is_offered_the_codes_of_the_networks_that_it_is_in(tmp_path):
    families = (("ID", "KAFKA"), (LOOPBACK,)), (("REFERRAL",), (ANNOUNCED,)), (("STOKEN",), (ANNOUNCED, LOOPBACK))
    assert await offered(offering(tmp_path, *families)) == ["ID", "KAFKA", "STOKEN"]


@pytest.mark.parametrize(("network", "codes"), [(ANNOUNCED, ["ID"]), (LOOPBACK, None)])
async def test_behind_a_proxy_the_announced_client_counts_and_not_the_proxy(tmp_path, network, codes):
    listener_settings = offering(tmp_path, (("ID",), (network,)), proxy_networks=TRUSTED)
    assert await offered(listener_settings, V1) == codes


async def test_a_client_in_none_of_the_networks_sees_no_keyword(tmp_path):
    assert await offered(offering(tmp_path, (("ID",), (ANNOUNCED,)))) is None
