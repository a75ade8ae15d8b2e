"""The Kafka connector: one record per mail, acknowledged by all in-sync replicas before `emit` returns."""

import asyncio
from functools import cached_property

import structlog

from connectors.kafka import failures
from connectors.kafka.access import connect
from connectors.kafka.budget import ByteBudget, Hold
from connectors.kafka.credentials import Credentials, read_credentials
from connectors.kafka.producer import Producer
from connectors.kafka.record import Record, RecordLayout
from connectors.kafka.registry import SchemaRegistry
from connectors.kafka.session import Session
from connectors.kafka.settings import KafkaSettings
from gateway.connector import Connector, Mail, Receipt, TransientFailure
from gateway.envelope import ContentReference, Envelope
from gateway.status import LOCAL_ERROR, MISCONFIGURED
from gateway.template import Template

__all__ = ["KafkaConnector"]

_log = structlog.get_logger(__name__)

_BYTES_IN_FLIGHT = 64 * 1024 * 1024
# Another connector's limit on emits is not known here; this is below that of each of ours.
_CLAIM_CHECKS_AT_ONCE = 8
# A gateway starts without brokers that hang, however many there are: whoever opens a connector has some patience only.
_OPENING_SECONDS = 15.0
# Whoever waits for `emit` gives up at the deadline, without a cause to tell; so this gives up a little before.
_SHARE_OF_DEADLINE = 0.9


class KafkaConnector:
    """Sends to one cluster. `claim_check` stores the content of mails that do not fit into a record."""

    def __init__(self, settings: KafkaSettings, claim_check: Connector | None = None) -> None:
        self._settings = settings
        self._layout = RecordLayout(settings)
        self._claim_check = claim_check
        self._claim_checks = asyncio.Semaphore(_CLAIM_CHECKS_AT_ONCE)
        self._budget = ByteBudget(_BYTES_IN_FLIGHT)
        self._producer = Producer(self._connect)
        self._registry: SchemaRegistry | None = None

    async def open(self) -> None:
        """Connect, and see whether the topic exists, where there is but one. Raises PermanentFailure.

        Brokers that are down or hang are no failure: it is noted, and each mail will be told.
        """
        topic = Template(self._settings.topic)
        if self._settings.schema_registry_url:
            self._registry = SchemaRegistry(
                self._settings.schema_registry_url,
                username=self._settings.schema_registry_username,
                password=self._credentials.registry_password,
                tls=self._credentials.registry_tls,
            )
        try:
            async with asyncio.timeout(_OPENING_SECONDS):
                await (self._producer.find(topic.text) if topic.is_constant else self._producer.connect())
        except TimeoutError:
            cause = f"no answer within {_OPENING_SECONDS:g} seconds"
            _log.warning("the brokers are not ready", connector=self._settings.name, cause=cause)
        except TransientFailure as failure:
            if failure.status == MISCONFIGURED:
                await self.close()
                raise failures.unusable(failure.cause) from failure
            _log.warning("the brokers are not ready", connector=self._settings.name, cause=failure.cause)

    async def emit(self, mail: Mail) -> Receipt:
        """Send `mail`. Raises TransientFailure (4.4.1, 4.4.2, 4.3.5, 4.3.0) and PermanentFailure (5.3.4).

        Cancelled, it leaves a record that may still be acknowledged in the next two seconds, or never was sent.
        """
        seconds = self._settings.deadline_seconds * _SHARE_OF_DEADLINE
        deadline = asyncio.get_running_loop().time() + seconds
        with self._budget.hold() as held:
            record = self._record_now(mail, held)
            if record is None:
                try:
                    async with asyncio.timeout_at(deadline):
                        record = await self._record_of(mail, held)
                except TimeoutError as error:
                    topic = self._layout.topic(mail.envelope)
                    waited = "it waited behind other mails, for the claim check or for the schema registry"
                    cause = f"topic {topic}: nothing was sent within {seconds:g} s; {waited}"
                    raise failures.silent(cause) from error
            sent = await self._producer.send(record, deadline)
        return Receipt(
            id=mail.envelope.id,
            connector=self._settings.name,
            type=self._settings.type,
            location={"topic": sent.topic, "partition": sent.partition, "offset": sent.offset},
        )

    def ordering_key(self, mail: Mail) -> bytes | None:
        """The topic and key of a mail's record; None where no two mails have the same."""
        return self._layout.ordering_key(mail.envelope)

    async def close(self) -> None:
        """Let go of brokers and registry at once; mails on their way fail."""
        await self._producer.close()
        if self._registry is not None:
            await self._registry.close()

    def _record_now(self, mail: Mail, held: Hold) -> Record | None:
        """The record of nearly every mail; None where it has to wait for something or its content lies elsewhere."""
        size = mail.content.size
        if self._registry is not None or size > self._settings.inline_max_bytes or not held.take_now(size):
            return None
        record = self._layout.record(_inline(mail))
        if self._fits(record):
            return record
        held.release()
        return None

    async def _record_of(self, mail: Mail, held: Hold) -> Record:
        if mail.content.size <= self._settings.inline_max_bytes:
            await held.take(mail.content.size)
            record = await self._record(_inline(mail))
            if self._fits(record):
                return record
            # What goes by reference does not hold its octets here.
            held.release()
        record = await self._record(await self._by_reference(mail))
        if not self._fits(record):
            raise failures.too_large(f"{record.size} octets without the content; see max_request_bytes")
        return record

    async def _record(self, envelope: Envelope) -> Record:
        if self._registry is None:
            return self._layout.record(envelope)
        topic = self._layout.topic(envelope)
        # Topics that do not exist are not registered either: their names may come from strangers and have no end.
        await self._producer.find(topic)
        return self._layout.record(envelope, schema_id=await self._registry.schema_id(topic))

    async def _by_reference(self, mail: Mail) -> Envelope:
        if self._claim_check is None:
            raise failures.too_large(
                f"{mail.content.size} octets of content; see inline_max_bytes, max_request_bytes and claim_check"
            )
        # The content is stored before the event tells of it.
        async with self._claim_checks:
            try:
                receipt = await self._claim_check.emit(mail)
            except TransientFailure as failure:
                # Whatever the other destination has, the brokers have no record of it.
                cause = f"claim_check {self._settings.claim_check}: {failure.cause}"
                wait = failure.retry_after_seconds
                raise TransientFailure(failure.status, failure.text, cause=cause, retry_after_seconds=wait) from failure
        return mail.by_reference(
            ContentReference(connector=receipt.connector, type=receipt.type, location=receipt.location)
        )

    def _fits(self, record: Record) -> bool:
        return record.size <= self._settings.max_request_bytes

    async def _connect(self) -> Session:
        return await connect(self._settings, self._credentials)

    @cached_property
    def _credentials(self) -> Credentials:
        return read_credentials(self._settings)


def _inline(mail: Mail) -> Envelope:
    try:
        return mail.inline()
    except OSError as error:
        text = "the content could not be read, try again later"
        raise TransientFailure(LOCAL_ERROR, text, cause=str(error)) from error
