"""The connector: from a mail to the servers that take it, and their word about each recipient."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from msgspec import structs

from connectors.smtp.attempt import Attempts, Host, Outcome
from connectors.smtp.credentials import Credentials, read_credentials
from connectors.smtp.following import Following
from connectors.smtp.outcome import Part, about_mail, receipt
from connectors.smtp.pool import Pool
from connectors.smtp.settings import SmtpSettings
from connectors.smtp.targets import Targets
from gateway.connector import Mail, PermanentFailure, Receipt, TransientFailure
from gateway.envelope.headers import MAXIMUM_HOPS, count_received
from gateway.relay.session import Access
from gateway.sockets import UnixBind
from gateway.status import DESTINATION_UNRESPONSIVE, LOCAL_ERROR, ROUTING_LOOP

__all__ = ["Exchangers", "SmtpConnector"]

# So long before everybody stops waiting the connector does: only it knows whether the server may have the mail.
_MARGIN = 0.05


class Exchangers(Protocol):
    """Where the mail of a domain goes; `connectors.smtp.exchangers` asks the DNS."""

    async def hosts(self, domain: str, *, own_name: str) -> Sequence[Host]:
        """The hosts, those of one preference together. Raises TransientFailure or PermanentFailure where none is."""


class SmtpConnector:
    """`gateway.connector.Connector` for the next mail server, or for the mail exchangers of the recipients' domains."""

    def __init__(self, settings: SmtpSettings, make_exchangers: Callable[[], Exchangers] | None = None) -> None:
        """`make_exchangers` is called when the connector is opened; it is there where `settings.mx` is set."""
        self._settings = settings
        self._make_exchangers = make_exchangers
        self._exchangers: Exchangers | None = None
        self._credentials: Credentials | None = None
        self._pool = Pool(
            max_connections=settings.max_connections,
            max_mails=settings.max_mails_per_connection,
            idle_seconds=settings.idle_seconds,
        )
        self._attempts = Attempts(self._pool, self._access)
        self._following = Following(Targets(settings.follow_referrals), Attempts(self._pool, self._access_of_target))

    async def open(self) -> None:
        """Read the password and certificates; no connection is made. Raises PermanentFailure for what is of no use."""
        self._credentials = read_credentials(self._settings)
        if self._make_exchangers is not None:
            self._exchangers = self._make_exchangers()

    async def emit(self, mail: Mail) -> Receipt:
        """Hand over one mail, and return when a server has answered for every recipient."""
        if self._credentials is None:
            raise TransientFailure(LOCAL_ERROR, "the destination is not open, try again later")
        # RFC 5321 §6.3: whoever took the mail in counted them; an archive or another program may not have.
        received = count_received(mail.envelope.message.headers) + count_received(mail.envelope.metadata.trace)
        if received > MAXIMUM_HOPS:
            raise PermanentFailure(ROUTING_LOOP, "too many hops, this mail goes in a circle")
        parts = await self._hand_over(mail)
        return receipt(mail, parts, connector=self._settings.name)

    async def close(self) -> None:
        """Close every idle connection, within a few seconds."""
        self._credentials = None
        await self._pool.close()

    async def _hand_over(self, mail: Mail) -> Sequence[Part]:
        until = asyncio.get_running_loop().time() + self._settings.deadline_seconds * (1 - _MARGIN)
        if self._exchangers is None:
            server = self._settings.server
            name = "localhost" if isinstance(server, UnixBind) else server.host
            host = Host(name=name, server=server, dialect=self._settings.dialect)
            outcome = await self._attempts.hand_over(mail, (host,), until=until)
            part = Part(positions=tuple(range(len(outcome.verdicts))), outcome=outcome)
            return await self._following.follow(mail, part, own_name=self._hello_name(mail), until=until)
        domains = _domains(mail)
        async with asyncio.TaskGroup() as tasks:
            running = {
                domain: tasks.create_task(
                    self._to_exchangers(self._exchangers, domain, mail.for_recipients(positions), until)
                )
                for domain, positions in domains.items()
            }
        return [Part(positions=tuple(domains[domain]), outcome=task.result()) for domain, task in running.items()]

    async def _to_exchangers(self, exchangers: Exchangers, domain: str, mail: Mail, until: float) -> Outcome:
        try:
            async with asyncio.timeout_at(until):
                hosts = await exchangers.hosts(domain, own_name=self._hello_name(mail))
        except (TransientFailure, PermanentFailure) as failure:
            return Outcome(verdicts=(failure,) * len(mail.envelope.envelope.recipients))
        except TimeoutError as error:
            late = TransientFailure(DESTINATION_UNRESPONSIVE, "the domain cannot be looked up now", cause=str(error))
            return Outcome(verdicts=(late,) * len(mail.envelope.envelope.recipients))
        outcome = await self._attempts.hand_over(mail, hosts, until=until)
        # Other domains have other servers.
        return structs.replace(outcome, verdicts=tuple(map(about_mail, outcome.verdicts)))

    def _access(self, host: Host, mail: Mail) -> Access:
        return self._read_credentials().access(host, hello_name=self._hello_name(mail))

    def _access_of_target(self, host: Host, mail: Mail) -> Access:
        return self._read_credentials().without_login().access(host, hello_name=self._hello_name(mail))

    def _read_credentials(self) -> Credentials:
        if self._credentials is None:
            raise TransientFailure(LOCAL_ERROR, "the destination was closed, try again later")
        return self._credentials

    def _hello_name(self, mail: Mail) -> str:
        return self._settings.hello_name or mail.envelope.gateway


def _domains(mail: Mail) -> Mapping[str, Sequence[int]]:
    """The positions of the recipients by domain."""
    found: dict[str, list[int]] = {}
    for position, recipient in enumerate(mail.envelope.envelope.recipients):
        found.setdefault(recipient.address.domain.lower(), []).append(position)
    return found
