"""Connectors to a real broker, opened for one test and closed after it."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest
from aiohttp import web

from connectors.kafka import CONNECTOR, KafkaSettings
from gateway.connector import Connector, Mail
from gateway.testing import sample_mails

_NUMBERS = itertools.count()


def settings(cluster, topic: str, **keys) -> KafkaSettings:
    servers = cluster.bootstrap.split(",")
    return KafkaSettings.model_validate({"name": "events", "bootstrap_servers": servers, "topic": topic, **keys})


class Registry:
    """Registers schemas, or gives the answer it is told to."""

    def __init__(self):
        self.requests = []
        self.answer = None

    async def register(self, request: web.Request) -> web.Response:
        self.requests.append((request.raw_path, dict(request.headers), await request.json()))
        return self.answer or web.json_response({"id": 40 + len(self.requests)})


@pytest.fixture
async def registry_server() -> AsyncIterator[Registry]:
    """A small server with the one request of Confluent's API that the connector makes."""
    registry = Registry()
    application = web.Application()
    application.router.add_post("/api/subjects/{subject}/versions", registry.register)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    registry.url = f"http://127.0.0.1:{runner.addresses[0][1]}/api"
    yield registry
    await runner.cleanup()


@pytest.fixture
def make_topic(kafka) -> Callable[..., str]:
    """Create a topic of this test's own; call it with the arguments of `KafkaCluster.create_topic` but the name."""

    def make(**options) -> str:
        name = f"kafka-connector-{next(_NUMBERS)}"
        kafka.create_topic(name, **options)
        return name

    return make


@pytest.fixture
async def silent() -> AsyncIterator[str]:
    """The address of a server that accepts connections and never answers."""
    connections = []
    server = await asyncio.start_server(lambda _, writer: connections.append(writer), "127.0.0.1", 0)
    yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()
    for connection in connections:
        connection.close()


@pytest.fixture
def mails() -> Iterator[dict[str, Mail]]:
    """One mail of each odd kind."""
    mails = sample_mails()
    yield mails
    for mail in mails.values():
        mail.content.close()


@pytest.fixture
async def start(kafka) -> AsyncIterator[Callable[..., Awaitable[Connector]]]:
    """Open a connector: `await start(topic, **keys)`, with `cluster` and `connectors` where they are others."""
    opened: list[Connector] = []

    async def start(topic: str, *, cluster=kafka, connectors=None, **keys) -> Connector:
        connector = CONNECTOR.build(settings(cluster, topic, **keys), connectors or {})
        await connector.open()
        opened.append(connector)
        return connector

    yield start
    for connector in opened:
        await connector.close()
