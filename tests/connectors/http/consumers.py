"""Consumers for the tests: real HTTP servers on loopback, well and badly behaved."""

import asyncio
import importlib.util
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import uvicorn

from connectors.http import CONNECTOR, HttpSettings
from gateway.connector import Connector

SECRET = "whsec_" + "c2VjcmV0LW9jdGV0cy1mb3ItdGhlLXRlc3Rz"
EXAMPLE = Path(__file__).parents[3] / "docs" / "examples" / "webhook_consumer.py"

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def connector(url: str, **settings) -> AsyncIterator[Connector]:
    """An open connector to `url`, with a secret."""
    made = make_connector(url, **settings)
    await made.open()
    try:
        yield made
    finally:
        async with asyncio.timeout(5):
            await made.close()


def make_connector(url: str, **settings) -> Connector:
    return CONNECTOR.build(HttpSettings(**{"name": "consumer", "url": url, "secrets": [SECRET], **settings}), {})


@contextmanager
def served(app, **options) -> Iterator[str]:
    """The URL of an ASGI application under uvicorn, in a thread with a loop of its own."""
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listening:
        config = uvicorn.Config(app, log_config=None, lifespan="off", timeout_graceful_shutdown=1, **options)
        server = uvicorn.Server(config)
        # The socket listens already: whoever connects before the server is up waits in its backlog.
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, name="uvicorn")
        thread.start()
        try:
            scheme = "https" if "ssl_certfile" in options else "http"
            yield f"{scheme}://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def example_app(secrets: str):
    """The application of the example in the documentation, made with these secrets."""
    spec = importlib.util.spec_from_file_location("webhook_consumer", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("WEBHOOK_SECRETS", secrets)
        spec.loader.exec_module(module)
    return module.app


@dataclass(frozen=True)
class Received:
    headers: list[tuple[str, str]]
    body: bytes

    def __getitem__(self, name: str) -> str:
        """The value of the only field of that name."""
        (value,) = (value for key, value in self.headers if key == name)
        return value


@dataclass
class Recorder:
    """An ASGI application that keeps every request by its webhook-id and answers 202."""

    received: dict[str, Received] = field(default_factory=dict)

    async def __call__(self, scope, receive, send) -> None:
        body = bytearray()
        while True:
            event = await receive()
            if event["type"] == "http.disconnect":
                return
            body += event.get("body", b"")
            if not event.get("more_body"):
                break
        headers = [(name.decode("ascii"), value.decode("ascii")) for name, value in scope["headers"]]
        request = Received(headers, bytes(body))
        self.received[request["webhook-id"]] = request
        await send({"type": "http.response.start", "status": 202, "headers": [(b"location", b"/mails/1")]})
        await send({"type": "http.response.body", "body": b""})


@asynccontextmanager
async def listening(handler: Handler, *, port: int = 0, **options) -> AsyncIterator[str]:
    """The URL of a server that does with each connection what `handler` says, and then closes it."""
    handling: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handling.add(asyncio.current_task())
        try:
            # A cancelled task would be reported as an error by Python 3.11's streams.
            with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await handler(reader, writer)
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(handle, "127.0.0.1", port, **options)
    try:
        yield f"{'https' if options.get('ssl') else 'http'}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in handling:
            task.cancel()
        await asyncio.gather(*handling, return_exceptions=True)


@asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator[str]:
    """The URL of a server that reads each request whole, says `answer` and closes the connection."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(answer)
        await writer.drain()
        writer.write_eof()
        await reader.read()

    async with listening(handle) as url:
        yield url


async def read_request(reader: asyncio.StreamReader) -> Received:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("ascii")
    fields = [line.split(": ", 1) for line in head.split("\r\n")[1:-2]]
    headers = [(name.lower(), value) for name, value in fields]
    body = await reader.readexactly(int(dict(headers)["content-length"]))
    return Received(headers, body)
