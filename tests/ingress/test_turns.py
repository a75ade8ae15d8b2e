"""Sessions take turns, however much one of them sends at once."""

import asyncio
import socket
from pathlib import Path

from gateway.delivery import Routes
from gateway.ingress import Listener, ListenerSettings
from gateway.smtp import Limits
from gateway.smtp.dialect import DIALECTS
from gateway.smtp.extension import Policy
from gateway.smtp.extensions import extension_table

_TRANSACTIONS = 2_000


async def test_a_session_with_thousands_of_commands_in_one_packet_does_not_keep_another_waiting(tmp_path: Path) -> None:
    settings = ListenerSettings(
        name="mx",
        hostname="mx.example.org",
        dialect=DIALECTS["smtp"],
        extensions=extension_table(Policy(message_octets=65_536)),
        limits=Limits(message_octets=65_536, junk=_TRANSACTIONS),
        spool=tmp_path,
    )
    listener = Listener(settings, Routes((), hostname="mx.example.org"))
    ((_, port),) = await listener.listen_tcp("127.0.0.1", 0)
    loop = asyncio.get_running_loop()
    with socket.create_connection(("127.0.0.1", port)) as busy, socket.create_connection(("127.0.0.1", port)) as other:
        for client in (busy, other):
            client.setblocking(False)
            assert (await loop.sock_recv(client, 1024)).startswith(b"220 ")
            await loop.sock_sendall(client, b"EHLO client.example\r\n")
            assert (await loop.sock_recv(client, 1024)).startswith(b"250-")
        await loop.sock_sendall(busy, b"MAIL FROM:<>\r\nRSET\r\n" * _TRANSACTIONS)
        await loop.sock_sendall(other, b"NOOP\r\n")
        assert (await loop.sock_recv(other, 1024)).startswith(b"250 ")
        answered = busy.recv(1 << 20).count(b"\r\n")
        assert answered < _TRANSACTIONS
        while answered < 2 * _TRANSACTIONS:
            replies = await loop.sock_recv(busy, 1 << 20)
            assert replies, "the session was closed"
            answered += replies.count(b"\r\n")
    await listener.stop(seconds=5)
