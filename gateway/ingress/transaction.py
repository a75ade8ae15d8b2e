"""One mail transaction as it comes in: the engine's events become a Mail.

A Mail exists once content and metadata are complete; before that there is only this. Nothing here parses MIME: the
header section is split into fields, which the envelope shows and the loop limit counts.
"""

import time
from pathlib import Path

from msgspec import Struct

from gateway.connector import PermanentFailure
from gateway.dates import timestamp
from gateway.delivery import Route
from gateway.envelope import (
    BLOCK,
    Client,
    Envelope,
    Mail,
    Message,
    Parameter,
    Proxy,
    Recipient,
    Sender,
    Tls,
    TransactionEnvelope,
    new_id,
)
from gateway.envelope import Transaction as TransactionFacts
from gateway.envelope.authentication_results import without_own_results
from gateway.envelope.headers import MAXIMUM_HOPS, MAXIMUM_OCTETS, count_received, read_headers
from gateway.envelope.metadata import read_metadata, with_own_trace
from gateway.envelope.trace import received_field
from gateway.ingress.content_builder import ContentBuilder
from gateway.ingress.content_tokens import Hint, hint_of
from gateway.smtp import MailReceived, RecipientReceived
from gateway.smtp.extensions.stoken import STOKEN
from gateway.smtp.extensions.xreplymeta import MAILDATA_PARAMETERS
from gateway.smtp.submission_token import SubmissionToken
from gateway.status import ROUTING_LOOP
from gateway.threads import in_thread

__all__ = ["SessionFacts", "Transaction"]

_TOKENS = (*MAILDATA_PARAMETERS, STOKEN)


class SessionFacts(Struct, frozen=True, kw_only=True):
    """What a transaction takes from its session. `trusted` peers are believed in what their metadata says."""

    gateway: str
    listener: str
    session: str
    client: Client
    protocol: str
    hello: str
    proxy: Proxy | None
    tls: Tls | None
    authenticated_as: str
    trusted: bool


class Transaction:
    """From an accepted MAIL to the end of content. `routes` has one route for each recipient, in RCPT order."""

    def __init__(self, session: SessionFacts, mail: MailReceived, *, spool: Path) -> None:
        self.id = new_id()
        self.session = session
        self.mail = mail
        self.recipients: list[Recipient] = []
        self.routes: list[Route] = []
        self.content = ContentBuilder(spool)
        self.hints: list[Hint] = []
        self.submission_tokens: list[SubmissionToken] = []
        self._containers: list[tuple[int, bytes]] = []
        self._chunks: list[int] = []

    def add_recipient(self, recipient: RecipientReceived, route: Route, token: SubmissionToken | None = None) -> None:
        """An accepted RCPT, the route its mail takes, and the submission token that admits it, where one does."""
        parameters = recipient.parameters
        if parameters and (hint := hint_of(parameters, recipient.address.domain)) is not None:
            self.hints.append(hint)
        if token is not None:
            self.submission_tokens.append(token)
        if parameters:
            # Tokens are between this client and this gateway, and no part of what is kept and handed on.
            parameters = tuple(each for each in parameters if each[0] not in _TOKENS)
        self.recipients.append(Recipient(address=recipient.address, parameters=_parameters(parameters)))
        self.routes.append(route)

    def add_container(self, type_: int, data: bytes) -> None:
        """A metadata container, in BMTD order."""
        self._containers.append((type_, data))

    def add_chunk(self, size: int) -> None:
        """A BDAT chunk of so many octets is complete."""
        self._chunks.append(size)

    async def complete(self, extensions: tuple[str, ...]) -> Mail:
        """The mail, whose content is there until `content.discard`.

        `extensions` are the EHLO keywords of the extensions that the transaction used.
        Raises OSError when the content cannot be stored, and PermanentFailure when the mail has gone in a circle.
        """
        content, sha256 = await self.content.finish()
        headers, headers_complete = read_headers(content.read(MAXIMUM_OCTETS + 1))
        session = self.session
        now = time.time_ns()
        received = await self._honest_containers()
        own = received_field(
            hello=session.hello,
            client=session.client,
            hostname=session.gateway,
            protocol=session.protocol,
            id_=self.id,
            recipients=[recipient.address for recipient in self.recipients],
            when=now / 1e9,
        )
        metadata = read_metadata(with_own_trace(own, received), trusted=session.trusted)
        fields = (*headers, *metadata.trace)
        # Few mails have as many fields as they may have hops.
        if len(fields) > MAXIMUM_HOPS and count_received(fields) > MAXIMUM_HOPS:
            raise PermanentFailure(ROUTING_LOOP, "too many hops, this mail goes in a circle")
        envelope = Envelope(
            id=self.id,
            received_at=timestamp(now),
            gateway=session.gateway,
            transaction=TransactionFacts(
                protocol=session.protocol,
                listener=session.listener,
                session=session.session,
                client=session.client,
                hello=session.hello,
                proxy=session.proxy,
                tls=session.tls,
                authenticated_as=session.authenticated_as,
                extensions=extensions,
                body=self.mail.body,
            ),
            envelope=TransactionEnvelope(
                mail_from=Sender(address=self.mail.address, parameters=_parameters(self.mail.parameters)),
                recipients=tuple(self.recipients),
            ),
            metadata=metadata,
            message=Message(
                size=content.size,
                sha256=sha256,
                headers=headers,
                headers_complete=headers_complete,
                chunks=tuple(self._chunks),
            ),
        )
        return Mail(envelope, content)

    async def _honest_containers(self) -> tuple[tuple[int, bytes], ...]:
        received = tuple(self._containers)
        if not received or self.session.trusted:
            return received
        gateway = self.session.gateway
        if sum(len(data) for _, data in received) <= BLOCK:
            return without_own_results(received, gateway)
        # Megabytes of small fields take a tenth of a second, which the other sessions would wait.
        return await in_thread(lambda _: without_own_results(received, gateway))


def _parameters(parameters: tuple[tuple[str, str], ...]) -> tuple[Parameter, ...]:
    return tuple(Parameter(keyword=keyword, value=value) for keyword, value in parameters)
