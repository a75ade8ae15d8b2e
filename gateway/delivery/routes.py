"""Routes: which destinations a recipient's mail goes to.

Patterns are looked up, not searched: each is one key of a table, and an address has a handful of keys (itself, its
domain, the domains above). So the number of routes costs nothing, and no pattern takes long. Upper and lower case are
the same everywhere, in the local-part too.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from gateway.address import Address, AddressSyntaxError, parse_path
from gateway.delivery.destination import Destination
from gateway.delivery.engine import Engine
from gateway.smtp.referral import Referral

__all__ = ["PatternError", "Route", "Routes", "covering", "parse_pattern"]

# A local-part, None for any, and a domain: `user@example.org` is ("user", "example.org"), `*@example.org` (None,
# "example.org"), `*@*.example.org` (None, ".example.org") and `*` (None, "").
_Key = tuple[str | None, str]
_EVERYONE: _Key = (None, "")


class PatternError(ValueError):
    """The text is no recipient pattern. It says why, and what would be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """The recipients that one of the patterns matches, and where their mail goes: to every one of the destinations.

    With an `engine` it is accepted into the spool, and the engine delivers it; otherwise it is accepted when it is
    delivered. `bounce_via` is the name of the destination that takes notifications to originators, "" for none.

    With a `referral` those clients that may be referred, and can, get that instead; with `dovecot_form` also peers that
    know Dovecot's. It needs no destinations then: mail from other clients is put off.
    """

    recipients: tuple[str, ...]
    destinations: tuple[Destination, ...]
    engine: Engine | None = None
    bounce_via: str = ""
    referral: Referral | None = None
    dovecot_form: bool = False

    def __post_init__(self) -> None:
        if not self.destinations and self.referral is None:
            raise ValueError("a route without destinations would accept mail and lose it")


class Routes:
    """All routes, in the order of the configuration: for each recipient the first that matches counts."""

    def __init__(self, routes: Iterable[Route], *, hostname: str) -> None:
        """Raises PatternError. `hostname` is the domain of a postmaster who is addressed without one."""
        self._routes = tuple(routes)
        self._hostname = hostname
        self._first: dict[_Key, int] = {}
        for number, route in enumerate(self._routes):
            for pattern in route.recipients:
                self._first.setdefault(parse_pattern(pattern), number)

    def match(self, address: Address) -> Route | None:
        """The route of `address`; None where there is none, and the recipient has to be refused (550 5.1.1)."""
        # RFC 5321 §4.5.1: <Postmaster> without a domain is this host's.
        one = address.local_part.lower(), (address.domain or self._hostname).lower()
        first = min((number for key in covering(one) if (number := self._first.get(key)) is not None), default=None)
        return None if first is None else self._routes[first]


def parse_pattern(pattern: str) -> _Key:
    """What the table of routes is asked for. Raises PatternError for a text that is no recipient pattern."""
    if pattern == "*":
        return _EVERYONE
    local_part, _, domain = pattern.rpartition("@")
    below = local_part == "*" and domain.startswith("*.")
    try:
        # One grammar for the addresses of mails and for those of the configuration.
        address = parse_path(f"{'any' if local_part == '*' else local_part}@{domain[2 * below :]}".encode(), utf8=True)
    except AddressSyntaxError:
        raise _error(pattern) from None
    if "*" in address.local_part:
        raise _error(pattern)
    return (None if local_part == "*" else address.local_part.lower(), "." * below + address.domain.lower())


def covering(key: _Key) -> Iterator[_Key]:
    """The keys of all patterns that match whatever the pattern with this key matches, itself among them."""
    domain = key[1]
    yield _EVERYONE
    yield key
    yield None, domain
    while dot := domain.find(".") + 1:
        domain = domain[dot:]
        yield None, f".{domain}"


def _error(pattern: str) -> PatternError:
    return PatternError(
        f"{pattern!r} is no recipient pattern; write `user@example.org`, `*@example.org`, `*@*.example.org` or `*`"
    )
