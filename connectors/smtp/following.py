"""Following referrals: the mail of a recipient goes where the server before has sent it, and on from there.

Each server is asked once for each recipient. RFC 2221 §3: at most ten are followed, one after another. Nothing of it is
kept: the next mail begins where every mail begins. A referral that leads to where this recipient has been, to this host
itself, or too far, is a loop (5.4.6); one that leads nowhere now, or where it may not, is tried again from the
beginning, as its 450 says.
"""

import asyncio
import ipaddress
from collections.abc import Mapping, Sequence

from msgspec import Struct, structs

from connectors.smtp.attempt import Attempts, Host, Outcome
from connectors.smtp.outcome import Part, about_mail
from connectors.smtp.targets import Targets
from gateway.address import Address, parse_path
from gateway.connector import Mail, PermanentFailure, TransientFailure
from gateway.relay.handover import Referred
from gateway.smtp.dialect import Dialect
from gateway.sockets import TcpBind, UnixBind
from gateway.status import DESTINATION_UNRESPONSIVE, ROUTING_LOOP

__all__ = ["Following"]

_MOST_REFERRALS = 10

_Target = tuple[Dialect, TcpBind]


class _Way(Struct, frozen=True):
    """Where the mail of one recipient has been, and the recipient as the last server was told it."""

    address: Address
    servers: tuple[TcpBind | UnixBind, ...] = ()
    referrals: int = 0


class Following:
    """Follows the referrals of trusted servers to `targets`. `attempts` hands over mail without any password."""

    def __init__(self, targets: Targets, attempts: Attempts) -> None:
        self._targets = targets
        self._attempts = attempts

    async def follow(self, mail: Mail, part: Part, *, own_name: str, until: float) -> Sequence[Part]:
        """`part`, and for every recipient who was referred in it, one later part that has the last word.

        `own_name` is what this host calls itself; `until` is of the event loop's clock. Nothing is raised but what
        cancels it.
        """
        parts = [part]
        ways = {position: _Way(mail.envelope.envelope.recipients[position].address) for position in part.positions}
        latest: Sequence[Part] = parts
        while referred := _referred(latest):
            for position, (host, _) in referred.items():
                if host is not None:
                    servers = (*ways[position].servers, _as_in_referrals(host.server))
                    ways[position] = structs.replace(ways[position], servers=servers)
            latest = await self._follow_once(mail, referred, ways, own_name=own_name, until=until)
            parts += latest
        return parts

    async def _follow_once(
        self,
        mail: Mail,
        referred: Mapping[int, tuple[Host | None, Referred]],
        ways: dict[int, _Way],
        *,
        own_name: str,
        until: float,
    ) -> Sequence[Part]:
        targets: dict[_Target, list[int]] = {}
        parts: list[Part] = []
        for position, (_, failure) in referred.items():
            referral, way = failure.referral, ways[position]
            if _is_loop(failure, way, own_name):
                parts.append(_failed((position,), _loop(failure)))
                continue
            address = parse_path(referral.recipient.encode(), utf8=False) if referral.recipient else way.address
            ways[position] = structs.replace(way, address=address, referrals=way.referrals + 1)
            targets.setdefault((referral.dialect, referral.server), []).append(position)
        async with asyncio.TaskGroup() as tasks:
            running = [
                tasks.create_task(self._hand_over(mail, positions, ways, referred[positions[0]][1], until=until))
                for positions in targets.values()
            ]
        return parts + [part for task in running for part in task.result()]

    async def _hand_over(
        self, mail: Mail, positions: Sequence[int], ways: Mapping[int, _Way], referred: Referred, *, until: float
    ) -> Sequence[Part]:
        try:
            async with asyncio.timeout_at(until):
                hosts = await self._targets.hosts(referred.referral)
        except TransientFailure as failure:
            return [_failed(positions, failure)]
        except TimeoutError as error:
            text = "the next mail server names another one that cannot be looked up in time"
            late = TransientFailure(DESTINATION_UNRESPONSIVE, text, cause=str(error), about_mail=True)
            return [_failed(positions, late)]
        # Names differ where addresses do not.
        circling = [position for position in positions if any(host.server in ways[position].servers for host in hosts)]
        others = [position for position in positions if position not in circling]
        parts = [_failed(circling, _loop(referred))] if circling else []
        if others:
            readdressed = _readdressed(mail, others, ways)
            outcome = await self._attempts.hand_over(readdressed, hosts, until=until)
            # The server that every mail goes to first may be in the best of health.
            outcome = structs.replace(outcome, verdicts=tuple(map(about_mail, outcome.verdicts)))
            parts.append(Part(positions=tuple(others), outcome=outcome))
        return parts


def _referred(parts: Sequence[Part]) -> dict[int, tuple[Host | None, Referred]]:
    return {
        position: (part.outcome.host, each)
        for part in parts
        for position, each in zip(part.positions, part.outcome.verdicts, strict=True)
        if isinstance(each, Referred)
    }


def _is_loop(failure: Referred, way: _Way, own_name: str) -> bool:
    referral = failure.referral
    return (
        referral.server in way.servers
        or referral.host == own_name.lower().rstrip(".")
        or way.referrals >= _MOST_REFERRALS
    )


def _as_in_referrals(server: TcpBind | UnixBind) -> TcpBind | UnixBind:
    if isinstance(server, UnixBind):
        return server
    try:
        host = str(ipaddress.ip_address(server.host))
    except ValueError:
        host = server.host.lower().rstrip(".")
    return TcpBind(host, server.port)


def _loop(failure: Referred) -> PermanentFailure:
    text = "the next mail servers refer to each other in a circle"
    return PermanentFailure(ROUTING_LOOP, text, cause=failure.cause)


def _failed(positions: Sequence[int], failure: TransientFailure | PermanentFailure) -> Part:
    return Part(positions=tuple(positions), outcome=Outcome(verdicts=(failure,) * len(positions)))


def _readdressed(mail: Mail, positions: Sequence[int], ways: Mapping[int, _Way]) -> Mail:
    transaction = mail.envelope.envelope
    recipients = tuple(
        structs.replace(transaction.recipients[position], address=ways[position].address) for position in positions
    )
    transaction = structs.replace(transaction, recipients=recipients)
    return Mail(structs.replace(mail.envelope, envelope=transaction), mail.content)
