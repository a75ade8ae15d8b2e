"""Where referrals may lead: the hosts and networks that the operator has listed, and where a host of them is.

    "backend*.example.org"     names; a `*` stands for any part of one label
    "10.0.0.0/8"               networks, for addresses, and for names by the address that they have now

A name that is listed is connected to wherever its address is. One that only a network allows is connected to at the
address that was looked at, so that the name cannot lead elsewhere a moment later.
"""

import asyncio
import ipaddress
import re
import socket
from collections.abc import Sequence

from connectors.smtp.attempt import Host
from gateway.connector import TransientFailure
from gateway.smtp.referral import ELSEWHERE, Referral
from gateway.sockets import TcpBind
from gateway.status import Status

__all__ = ["Targets"]

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_MOST_ADDRESSES = 4
_LOOKUP_FAILED = Status(4, 4, 3)


class Targets:
    """The list, in force."""

    def __init__(self, entries: Sequence[str]) -> None:
        self._networks = tuple(network for each in entries if (network := _network(each)) is not None)
        self._names = tuple(_compiled(each) for each in entries if _network(each) is None)

    async def hosts(self, referral: Referral) -> Sequence[Host]:
        """The hosts that the referral leads to, of which any will do.

        Raises TransientFailure where the list allows none, or the name cannot be looked up.
        """
        address = _address(referral.host)
        if address is None and any(name.fullmatch(referral.host) for name in self._names):
            return (Host(name=referral.host, server=referral.server, dialect=referral.dialect),)
        addresses = [address] if address is not None else await self._looked_up(referral)
        found = [each for each in addresses if any(each in network for network in self._networks)]
        if not found:
            text = "the next mail server names another one that is not allowed"
            cause = f"follow_referrals does not allow {referral}"
            raise TransientFailure(ELSEWHERE, text, cause=cause, about_mail=True)
        return [
            Host(name=referral.host, server=TcpBind(str(each), referral.port), dialect=referral.dialect)
            for each in found[:_MOST_ADDRESSES]
        ]

    async def _looked_up(self, referral: Referral) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
        if not self._networks:
            return []
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(referral.host, referral.port, type=socket.SOCK_STREAM)
        except OSError as error:
            text = "the next mail server names another one that cannot be looked up"
            raise TransientFailure(_LOOKUP_FAILED, text, cause=f"{referral}: {error}", about_mail=True) from error
        addresses = (_address(str(where[0])) for *_, where in found)
        return list(dict.fromkeys(each for each in addresses if each is not None))


def _network(text: str) -> _Network | None:
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        return None


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile("[^.]*".join(map(re.escape, pattern.lower().split("*"))))
