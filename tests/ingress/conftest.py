import asyncio
import ssl

import pytest
import trustme


class Clock:
    """The event loop's clock, which a test may put forward."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._true_time = loop.time
        self._ahead = 0.0
        loop.time = lambda: self._true_time() + self._ahead

    async def advance(self, seconds: float) -> None:
        """So much later; timers that are due by then have run."""
        self._ahead += seconds
        for _ in range(3):
            await asyncio.sleep(0)


@pytest.fixture
async def clock():
    return Clock(asyncio.get_running_loop())


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def server_tls(authority) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    return context


@pytest.fixture(scope="session")
def client_tls(authority) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context
