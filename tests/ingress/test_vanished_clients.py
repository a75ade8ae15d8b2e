"""Clients whose host is gone: nobody tells, and their sessions end all the same.

The listening socket and the client are in networks of their own, joined by one cable, which is then pulled; the
machine's own network has no part in it. That needs root and Linux's network namespaces.
"""

import asyncio
import ctypes
import os
import socket
import subprocess
import threading
from contextlib import ExitStack, contextmanager

import pytest

from gateway.ingress import Listener
from gateway.ingress.acceptor import Acceptor
from gateway.smtp import Limits
from gateway.testing import MemoryConnector
from tests.ingress.gateway import ENVELOPE, HELLO, Client, Gateway, routes_to, settings

_CLONE_NEWNET = 0x40000000
_SERVER, _CLIENT = "10.0.0.1", "10.0.0.2"


class Network:
    """A network that is nobody else's, for as long as its process lives."""

    def __init__(self, pid):
        self.pid = pid

    def ip(self, *arguments):
        """Run ip(8) in there."""
        command = ["nsenter", "--net", "--target", str(self.pid), "ip", *arguments]
        subprocess.run(command, check=True, capture_output=True, timeout=20)

    def call(self, work):
        """What `work` returns, from a thread in there: a socket stays where it is made."""
        found = []

        def enter():
            with open(f"/proc/{self.pid}/ns/net", "rb") as network:  # noqa: PTH123  # no file in the usual sense
                if ctypes.CDLL(None, use_errno=True).setns(network.fileno(), _CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), "setns")
            found.append(work())

        thread = threading.Thread(target=enter)
        thread.start()
        thread.join(20)
        (result,) = found
        return result


@contextmanager
def own_network():
    with subprocess.Popen(
        ["unshare", "--net", "sh", "-c", "echo ready; exec cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        try:
            if holder.stdout.readline() != b"ready\n":
                pytest.skip("this machine has no network namespaces")
            yield Network(holder.pid)
        finally:
            holder.kill()


@pytest.fixture
def networks():
    """That of the server and that of the client, whose ends of the cable are called by these names."""
    if os.geteuid():
        pytest.skip("only root makes networks")
    with ExitStack() as made:
        try:
            server, client = made.enter_context(own_network()), made.enter_context(own_network())
            server.ip("link", "add", "server", "type", "veth", "peer", "name", "client", "netns", str(client.pid))
            for network, name, address in ((server, "server", _SERVER), (client, "client", _CLIENT)):
                network.ip("address", "add", f"{address}/24", "dev", name)
                network.ip("link", "set", name, "up")
        except (FileNotFoundError, subprocess.CalledProcessError) as error:
            pytest.skip(f"another network cannot be made: {error}")
        yield server, client


WHEN = {
    "idle": HELLO,
    "in content": HELLO + ENVELOPE + b"DATA\r\n" + b"x" * 300_000,
    "that does not read": HELLO + b"HELP\r\n" * 100_000,
}


@pytest.mark.parametrize("when", WHEN)
async def test_a_client_whose_host_vanishes_is_gone_when_its_time_is_over(tmp_path, networks, clock, when):
    server, far = networks
    memory = MemoryConnector()
    listener = Listener(settings(tmp_path, limits=Limits(message_octets=10_000_000, junk=10**9)), routes_to(memory))
    listening = server.call(lambda: socket.create_server((_SERVER, 0)))
    acceptor = Acceptor([listening], listener._take)
    running = Gateway(listener, memory, listening.getsockname()[1])
    connected = await asyncio.to_thread(far.call, lambda: socket.create_connection((_SERVER, running.port), timeout=10))
    connected.setblocking(False)
    client = Client(*await asyncio.open_connection(sock=connected))
    assert await client.code() == 220
    client.writer.transport.pause_reading()
    client.send(WHEN[when])
    arrived = {
        "idle": lambda: running.session()._connection.hello,
        "in content": lambda: (
            running.session()._transaction
            and running.transaction().content.size > 290_000
            and running.session()._task is None
        ),
        "that does not read": lambda: running.session()._output_blocked,
    }
    await running.until(lambda: running.sessions == 1 and arrived[when]())
    server.ip("link", "set", "server", "down")
    # Once for its silence, once for reading our last words.
    await clock.advance(316)
    await clock.advance(316)
    await running.all_sessions_end()
    assert listener._admission._use.reserved == listener._admission._connections == 0
    assert memory.mails == {}
    client.writer.transport.abort()
    acceptor.close()
    await listener.stop(seconds=0)
