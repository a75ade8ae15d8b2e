"""Asking an authenticator of aiosmtpd's convention whether a client is who it says."""

import asyncio

from aiosmtpd.smtp import Envelope, LoginPassword, Session

from gateway.envelope import Client
from gateway.ingress.settings import Authenticator
from gateway.smtp import CredentialsReceived

__all__ = ["is_authentic"]


async def is_authentic(
    authenticator: Authenticator, credentials: CredentialsReceived, *, client: Client, hello: str
) -> bool:
    """What the authenticator says. It may block, so it runs in a thread; it sees aiosmtpd's session and no server."""
    session = Session(asyncio.get_running_loop())
    session.peer = (client.address, client.port)  # type: ignore[assignment]  # declared str, always a socket name
    session.host_name = hello
    login = LoginPassword(credentials.login, credentials.password)
    result = await asyncio.to_thread(authenticator, None, session, Envelope(), credentials.mechanism, login)
    return bool(result.success)
