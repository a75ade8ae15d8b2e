"""What the tests of faults give to a connector, and what they see of it."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from aiokafka.errors import KafkaError
from msgspec import structs

from connectors.kafka.session import Session
from gateway.connector import DeliveryFailure, Receipt, TransientFailure
from gateway.envelope import Content, Mail, new_id
from gateway.testing.samples import plain_mail


def can_create_topics(cluster) -> bool:
    try:
        cluster.create_topic(f"after-a-pause-{new_id()}")
    except (AttributeError, KafkaError):  # an AttributeError is how aiokafka says that there is no controller
        return False
    return True


@contextmanager
def paused(cluster) -> Iterator[None]:
    cluster.pause()
    try:
        yield
    finally:
        cluster.resume()
        # A broker that was away is for a moment without its cluster, and the next test needs both.
        deadline = time.monotonic() + 30
        while not can_create_topics(cluster):
            assert time.monotonic() < deadline


def with_content(octets: bytes) -> Mail:
    mail = plain_mail()
    message = structs.replace(mail.envelope.message, size=len(octets))
    return Mail(structs.replace(mail.envelope, message=message), Content(octets))


def to(domain: str) -> Mail:
    mail = plain_mail()
    [recipient] = mail.envelope.envelope.recipients
    address = structs.replace(recipient.address, domain=domain)
    addressed = structs.replace(mail.envelope.envelope, recipients=(structs.replace(recipient, address=address),))
    return Mail(structs.replace(mail.envelope, envelope=addressed), mail.content)


async def outcome(connector, mail) -> Receipt | DeliveryFailure:
    try:
        return await connector.emit(mail)
    except DeliveryFailure as failure:
        return failure


async def outcomes(connector, mails) -> list[Receipt | DeliveryFailure]:
    return await asyncio.gather(*(outcome(connector, mail) for mail in mails))


async def emitted_at_last(connector, mail, seconds=30) -> Receipt:
    """Emit until it succeeds, as a client does that gets 451 again and again."""
    async with asyncio.timeout(seconds):
        while not isinstance(found := await outcome(connector, mail), Receipt):
            assert isinstance(found, TransientFailure)
            await asyncio.sleep(0.1)
    return found


async def until(holds: Callable[[], bool], seconds=30) -> None:
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110  # what is waited for is another program's doing
            await asyncio.sleep(0.01)


def session_of(connector) -> Session:
    return connector._producer._session


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began < seconds
