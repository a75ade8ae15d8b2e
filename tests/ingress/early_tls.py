"""A TLS client that speaks before it is asked, so that its hello is there when the server first looks."""

import socket
import ssl
from contextlib import suppress
from pathlib import Path


class EarlyTlsClient:
    """It has sent `before` and its hello, in one go; `shake_hands` does the rest of the handshake."""

    def __init__(self, address: tuple[str, int], *, authority: Path, name: str, before: bytes = b"") -> None:
        context = ssl.create_default_context(cafile=authority)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=name)
        with suppress(ssl.SSLWantReadError):
            self._tls.do_handshake()
        self._socket = socket.create_connection(address, 10)
        self._socket.sendall(before + self._outgoing.read())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._socket.close()

    def shake_hands(self):
        """Raises ssl.SSLError, or ConnectionError when the server has left."""
        self._do(self._tls.do_handshake)

    def read(self) -> bytes:
        return self._do(self._tls.read)

    def ask(self, line: bytes) -> bytes:
        self._do(lambda: self._tls.write(line + b"\r\n"))
        return self.read()

    def _do(self, step):
        while True:
            try:
                result = step()
            except ssl.SSLWantReadError:
                self._socket.sendall(self._outgoing.read())
                received = self._socket.recv(65536)
                if not received:
                    raise ConnectionError("the server has left") from None
                self._incoming.write(received)
            else:
                self._socket.sendall(self._outgoing.read())
                return result
