"""Where the mail of a domain goes, by the DNS (RFC 5321 §5.1): mail exchangers, or the domain's own addresses."""

import asyncio
import ipaddress
import random
import socket
from collections.abc import Sequence
from itertools import islice, zip_longest

import dns.asyncresolver
import dns.exception
import dns.name
import dns.nameserver
import dns.resolver
from msgspec import Struct

from connectors.smtp.attempt import Host
from gateway.connector import PermanentFailure, TransientFailure
from gateway.sockets import TcpBind
from gateway.status import ROUTING_LOOP, UNUSABLE, Status

__all__ = ["DnsExchangers"]

_LOOKUP_SECONDS = 20
# A domain may list any number; RFC 5321 §5.1 asks for two to be tried at least.
_MOST_NAMES = 5
_MOST_ADDRESSES = 3

_NO_SUCH_DOMAIN = Status(5, 1, 2)
_TAKES_NO_MAIL = Status(5, 1, 10)
_LOOKUP_FAILED = Status(4, 4, 3)
_NO_ROUTE = Status(5, 4, 4)

_NULL = dns.name.root


class _Exchanger(Struct, frozen=True):
    preference: int
    name: dns.name.Name


class DnsExchangers:
    """Asks the system's DNS servers, or those of `nameservers`, (address, port). Answers live as long as they say."""

    def __init__(self, *, port: int, nameservers: Sequence[tuple[str, int]] = ()) -> None:
        """`port` is that of the mail exchangers. Raises PermanentFailure where the system names no DNS server."""
        self._port = port
        try:
            self._resolver = dns.asyncresolver.Resolver(configure=not nameservers)
        except dns.resolver.NoResolverConfiguration as error:
            cause = f"the system's DNS servers cannot be found: {error}"
            raise PermanentFailure(UNUSABLE, "the destination is not configured correctly", cause=cause) from error
        if nameservers:
            self._resolver.nameservers = [dns.nameserver.Do53Nameserver(*each) for each in nameservers]
        self._resolver.lifetime = _LOOKUP_SECONDS
        self._resolver.cache = dns.resolver.LRUCache(1000)

    async def hosts(self, domain: str, *, own_name: str) -> Sequence[Host]:
        """The hosts that take the mail of `domain`, the lowest preference first, equals in any order.

        Hosts that are no nearer than `own_name` are left out: a mail to them would come back. Raises TransientFailure
        where the DNS gives no answer now, PermanentFailure where the domain has no host.
        """
        if literal := _literal(domain):
            return (Host(name=literal, server=TcpBind(literal, self._port)),)
        name = _name(domain)
        exchangers = await self._exchangers(name)
        if [each.name for each in exchangers] == [_NULL]:
            # RFC 7505 §3.
            raise PermanentFailure(_TAKES_NO_MAIL, "the domain takes no mail", cause=f"{domain} has a null MX")
        nearer = _nearer([each for each in exchangers if each.name != _NULL], own_name)
        if exchangers and not nearer:
            cause = f"the best mail exchanger of {domain} is this host, {own_name}"
            raise PermanentFailure(ROUTING_LOOP, "the mail would come back to this host", cause=cause)
        # RFC 5321 §5.1: a domain without MX records is its own mail exchanger.
        return await self._addressed(domain, _ordered(nearer) if exchangers else [_Exchanger(0, name)])

    async def _exchangers(self, name: dns.name.Name) -> list[_Exchanger]:
        try:
            answer = await self._resolver.resolve(name, "MX", search=False, raise_on_no_answer=False)
        except dns.resolver.NXDOMAIN as error:
            raise PermanentFailure(_NO_SUCH_DOMAIN, "the domain does not exist", cause=_reason(error)) from error
        except (dns.exception.DNSException, OSError) as error:
            raise _unanswered(error) from error
        if answer.rrset is None:
            return []
        return [_Exchanger(record.preference, record.exchange) for record in answer.rrset]

    async def _addressed(self, domain: str, exchangers: Sequence[_Exchanger]) -> Sequence[Host]:
        found: list[Host] = []
        unanswered: Exception | None = None
        results = await asyncio.gather(*(self._addresses(each.name) for each in exchangers))
        for exchanger, result in zip(exchangers, results, strict=True):
            if isinstance(result, Exception):
                unanswered = result
                continue
            name = exchanger.name.to_text(omit_final_dot=True)
            found += (
                Host(name=name, server=TcpBind(address, self._port), preference=exchanger.preference)
                for address in result
            )
        if found:
            return found
        if unanswered is not None:
            raise _unanswered(unanswered) from unanswered
        raise PermanentFailure(_NO_ROUTE, "the domain has no mail server", cause=f"no host of {domain} has an address")

    async def _addresses(self, name: dns.name.Name) -> Sequence[str] | Exception:
        try:
            answers = await self._resolver.resolve_name(name, search=False)
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return ()
        except (dns.exception.DNSException, OSError) as error:
            return error
        # Those of IPv6 come first, and this host may have none.
        kinds = (list(answers.addresses(kind)) for kind in (socket.AF_INET6, socket.AF_INET))
        in_turns = (each for some in zip_longest(*kinds) for each in some if each is not None)
        return tuple(islice(in_turns, _MOST_ADDRESSES))


def _ordered(exchangers: list[_Exchanger]) -> Sequence[_Exchanger]:
    random.shuffle(exchangers)
    return sorted(exchangers, key=lambda each: each.preference)[:_MOST_NAMES]


def _nearer(exchangers: Sequence[_Exchanger], own_name: str) -> list[_Exchanger]:
    own = own_name.rstrip(".").lower()
    limit = min(
        (each.preference for each in exchangers if each.name.to_text(omit_final_dot=True).lower() == own), default=None
    )
    return [each for each in exchangers if limit is None or each.preference < limit]


def _literal(domain: str) -> str:
    # RFC 5321 §4.1.3. The grammar has read it before; what is neither of the two kinds names no host here.
    if not domain.startswith("["):
        return ""
    text = domain[1:-1]
    try:
        return str(ipaddress.ip_address(text[5:] if text[:5].lower() == "ipv6:" else text))
    except ValueError:
        raise PermanentFailure(_NO_SUCH_DOMAIN, "an address literal of this kind is not known") from None


def _name(domain: str) -> dns.name.Name:
    try:
        name = dns.name.from_text(domain)
    except (dns.exception.DNSException, UnicodeError) as error:
        raise PermanentFailure(_NO_SUCH_DOMAIN, "the domain is no name of the DNS", cause=_reason(error)) from error
    if name == _NULL:
        raise PermanentFailure(_NO_SUCH_DOMAIN, "the recipient has no domain")
    return name


def _unanswered(error: Exception) -> TransientFailure:
    return TransientFailure(_LOOKUP_FAILED, "the domain cannot be looked up now", cause=_reason(error))


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__
