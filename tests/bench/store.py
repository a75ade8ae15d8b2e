"""How many objects a second the S3 store takes by itself: what the `message` layout is measured against.

The requests are signed beforehand (query strings, SigV4) and sent by one thread, so that hardly anything but the store
takes time.
"""

import select
import socket
import time
from contextlib import ExitStack, closing

from tests.servers.s3 import S3Server

__all__ = ["put_rate"]

_SIZE = 1024
_CONNECTIONS = 64
_SECONDS = 60.0


def put_rate(objects: int) -> float:
    """Objects of 1 KB a second, over 64 connections. Raises Unavailable, StartFailed, RuntimeError."""
    with S3Server() as server:
        bucket = server.create_bucket()
        host = server.endpoint_url.removeprefix("http://")
        client = server.client(signature_version="s3v4", request_checksum_calculation="when_required")
        requests = []
        for number in range(objects):
            url = client.generate_presigned_url("put_object", Params={"Bucket": bucket, "Key": f"object-{number}"})
            target = url.removeprefix(server.endpoint_url)
            head = f"PUT {target} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {_SIZE}\r\n\r\n"
            requests.append(head.encode() + b"x" * _SIZE)
        address, _, port = host.rpartition(":")
        return _rate(requests, (address, int(port)))


def _rate(requests: list[bytes], address: tuple[str, int]) -> float:
    count = len(requests)
    with ExitStack() as running:
        epoll = running.enter_context(closing(select.epoll()))
        sockets = {}
        for _ in range(min(_CONNECTIONS, count)):
            connection = running.enter_context(socket.create_connection(address, _SECONDS))
            sockets[connection.fileno()] = connection
            epoll.register(connection, select.EPOLLIN)
        began, answered = time.perf_counter(), 0
        for connection in sockets.values():
            connection.sendall(requests.pop())
        while answered < count:
            ready = epoll.poll(_SECONDS)
            if not ready:
                raise RuntimeError(f"the store said nothing for {_SECONDS:g} s")
            for number, _ in ready:
                answer = sockets[number].recv(65536)
                # An answer to PUT has no body, and comes in one piece.
                if not (answer.startswith(b"HTTP/1.1 200") and answer.endswith(b"\r\n\r\n")):
                    raise RuntimeError(f"the store answered {answer[:200].decode(errors='replace')!r}")
                answered += 1
                if requests:
                    sockets[number].sendall(requests.pop())
        return count / (time.perf_counter() - began)
