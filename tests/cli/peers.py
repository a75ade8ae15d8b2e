"""Servers for `mailsluice send`, each in a thread of its own."""

import asyncio
import socket
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

from gateway.delivery import Destination, Route, Routes
from gateway.ingress import Listener, ListenerSettings
from gateway.smtp import DIALECTS, Limits, Policy, extension_table
from gateway.testing import MemoryConnector

HOSTNAME = "mx.example.org"
SECONDS = 30


@dataclass
class Gateway:
    """Our own listener. It takes mail for example.org only."""

    address: str
    connector: MemoryConnector

    @property
    def mails(self):
        return list(self.connector.mails.values())


@contextmanager
def gateway(
    spool, protocol="smtp", *, disabled=(), unix=None, message_octets=100_000_000, authenticator=None, **settings
):
    started = SimpleQueue()

    async def serve():
        stopped = asyncio.Event()
        connector = MemoryConnector()
        destination = Destination(
            connector, name="memory", metadata="preserve", deadline_seconds=SECONDS, max_in_flight=10
        )
        routes = Routes([Route(recipients=("*@example.org",), destinations=(destination,))], hostname=HOSTNAME)
        policy = Policy(
            message_octets=message_octets,
            starttls="tls" in settings and not settings.get("implicit_tls"),
            authentication=authenticator is not None,
            reply_codes="reply_metadata" in settings,
        )
        listener = Listener(
            ListenerSettings(
                name=protocol,
                hostname=HOSTNAME,
                dialect=DIALECTS[protocol],
                extensions=extension_table(policy, disabled=disabled),
                limits=Limits(message_octets=message_octets),
                spool=spool,
                authenticator=authenticator,
                **settings,
            ),
            routes,
        )
        if unix:
            await listener.listen_unix(Path(unix))
            address = f"unix:{unix}"
        else:
            ((host, port),) = await listener.listen_tcp("127.0.0.1", 0)
            address = f"{host}:{port}"
        loop = asyncio.get_running_loop()
        started.put((Gateway(address, connector), lambda: loop.call_soon_threadsafe(stopped.set)))
        await stopped.wait()
        await listener.stop(seconds=SECONDS)

    thread = threading.Thread(target=asyncio.run, args=(serve(),), daemon=True)
    thread.start()
    found, stop = started.get(timeout=SECONDS)
    try:
        yield found
    finally:
        stop()
        thread.join(SECONDS)


@contextmanager
def talker(talk):
    """A server that does with its one connection what `talk(socket)` does, and closes it: its address."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(SECONDS)

        def serve():
            connection, _ = listening.accept()
            with connection:
                connection.settimeout(SECONDS)
                talk(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        host, port = listening.getsockname()
        yield f"{host}:{port}"
        thread.join(SECONDS)


def says(*replies):
    """A server that says one reply to each line, whatever the line."""

    def talk(connection):
        lines = connection.makefile("rb")
        for reply in replies:
            connection.sendall(reply)
            if not lines.readline():
                return
        lines.close()

    return talk
