"""Asking an authenticator of aiosmtpd's convention whether a client is who it says."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from aiosmtpd.smtp import Envelope, LoginPassword, Session

from gateway.envelope import Client
from gateway.ingress.settings import Authenticator
from gateway.smtp import CredentialsReceived

__all__ = ["is_authentic"]

_SECONDS = 30.0
# Threads of its own, so that neither a directory service that hangs nor a guesser of passwords keeps those that store
# content. One that hangs is lost to the others until its authenticator gives up.
_THREADS = ThreadPoolExecutor(8, thread_name_prefix="authentication")


async def is_authentic(
    authenticator: Authenticator, credentials: CredentialsReceived, *, client: Client, hello: str
) -> bool:
    """What the authenticator says. It may block, so it runs in a thread; it sees aiosmtpd's session and no server.

    Raises OSError where the authenticator does, and TimeoutError, which is one, when it says nothing for 30 seconds.
    """
    session = Session(asyncio.get_running_loop())
    session.peer = (client.address, client.port)  # type: ignore[assignment]  # declared str, always a socket name
    session.host_name = hello
    login = LoginPassword(credentials.login, credentials.password)
    ask = partial(authenticator, None, session, Envelope(), credentials.mechanism, login)
    async with asyncio.timeout(_SECONDS):
        result = await asyncio.get_running_loop().run_in_executor(_THREADS, ask)
    return bool(result.success)
