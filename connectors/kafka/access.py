"""Getting in: which of the brokers answers, whether it lets us in, and if not, why not.

aiokafka's own start only says that no broker could be used. So each is visited first, which fails with the error that
the operator needs, and the producer is started with the first that lets us in.
"""

import asyncio
from typing import Any

from aiokafka import errors
from aiokafka.conn import get_ip_port_afi

from connectors.kafka import failures
from connectors.kafka.clients import IdempotentProducer, visit
from connectors.kafka.credentials import Credentials
from connectors.kafka.session import Session
from connectors.kafka.settings import KafkaSettings
from gateway.connector import DeliveryFailure
from gateway.status import MISCONFIGURED

__all__ = ["connect", "options_of"]

# A login over TLS is some ten round trips, the start of a producer two or three of them.
_PROBE_SECONDS = 5.0
_START_SECONDS = 15.0
# Records that come together share a batch, and those that find it full wait until it is sent: with small ones, a
# thousand mails at once to one partition cost more in waiting for their turn than in all else.
_BATCH_BYTES = 1024 * 1024


async def connect(settings: KafkaSettings, credentials: Credentials) -> Session:
    """A session through the first of `bootstrap_servers` that lets us in. Raises TransientFailure."""
    access = options_of(settings, credentials)
    server = await _first_that_answers(settings.bootstrap_servers, access)
    producer = IdempotentProducer(
        bootstrap_servers=server,
        # Half the deadline, so that a request that gets no answer can be made again to a new leader.
        request_timeout_ms=int(min(30.0, max(1.0, settings.deadline_seconds / 2)) * 1000),
        compression_type=None if settings.compression == "none" else settings.compression,
        linger_ms=settings.linger_milliseconds,
        max_batch_size=min(_BATCH_BYTES, settings.max_request_bytes),
        max_request_size=settings.max_request_bytes,
        **access,
    )
    try:
        async with asyncio.timeout(_START_SECONDS):
            await producer.start()
    except (errors.KafkaError, OSError) as error:
        await producer.abandon()
        raise failures.from_error(error, f"the brokers that {server} names (advertised.listeners)") from error
    except asyncio.CancelledError:
        await producer.abandon()
        raise
    return Session(producer)


def options_of(settings: KafkaSettings, credentials: Credentials) -> dict[str, Any]:
    """How any client of aiokafka is let in: the options that producers, consumers and connections have in common."""
    sasl = settings.sasl_mechanism != "none"
    protocol = ("SASL_SSL" if sasl else "SSL") if settings.tls else ("SASL_PLAINTEXT" if sasl else "PLAINTEXT")
    access = {
        "client_id": f"mailsluice-{settings.name}",
        "security_protocol": protocol,
        "ssl_context": credentials.tls,
    }
    if sasl:
        access |= {
            "sasl_mechanism": settings.sasl_mechanism,
            "sasl_plain_username": settings.sasl_username,
            "sasl_plain_password": credentials.password.get_secret_value(),
        }
    return access


async def _first_that_answers(servers: tuple[str, ...], access: dict[str, Any]) -> str:
    refusals: list[DeliveryFailure] = []
    for server in servers:
        host, port, _ = get_ip_port_afi(server)
        try:
            async with asyncio.timeout(_PROBE_SECONDS):
                await visit(host, port, **access)
        except TimeoutError:
            silence = TimeoutError(f"no answer within {_PROBE_SECONDS:g} s")
            refusals.append(failures.from_error(silence, f"broker {server}"))
        # A ValueError is what aiokafka makes of a broker that does not know the SCRAM password either.
        except (errors.KafkaError, OSError, ValueError) as error:
            refusals.append(failures.from_error(error, f"broker {server}"))
        else:
            return server
    # A refused login tells more than a broker that is down.
    worst = min(refusals, key=lambda refusal: refusal.status != MISCONFIGURED)
    raise type(worst)(worst.status, worst.text, cause="; ".join(refusal.cause for refusal in refusals))
