"""Whether a client is who it says: by an authenticator of aiosmtpd's convention, or by a submission token."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from aiosmtpd.smtp import Envelope, LoginPassword, Session

from gateway.envelope import Client
from gateway.ingress import records
from gateway.ingress.settings import Authenticator, ListenerSettings
from gateway.ingress.submission import is_known
from gateway.smtp import CredentialsReceived, Reply
from gateway.smtp.extensions.stoken import STOKEN

__all__ = ["AUTHENTICATED", "BAD_CREDENTIALS", "authenticate", "is_authentic"]

AUTHENTICATED = Reply.of(235, "2.7.0", "authentication successful")
BAD_CREDENTIALS = Reply.of(535, "5.7.8", "authentication failed")
_UNAVAILABLE = Reply.of(454, "4.7.0", "authentication is not available now")

_SECONDS = 30.0
# Threads of its own, so that neither a directory service that hangs nor a guesser of passwords keeps those that store
# content. One that hangs is lost to the others until its authenticator gives up.
_THREADS = ThreadPoolExecutor(8, thread_name_prefix="authentication")


async def authenticate(
    credentials: CredentialsReceived, settings: ListenerSettings, *, session: str, client: Client, hello: str
) -> Reply:
    """The answer to AUTH in the session of that id, and its line in the log."""
    if credentials.mechanism == STOKEN:
        submission = settings.reply_metadata.submission
        success = submission is not None and is_known(submission, credentials)
    elif settings.authenticator is None:
        return _UNAVAILABLE
    else:
        try:
            success = await is_authentic(settings.authenticator, credentials, client=client, hello=hello)
        except OSError as error:
            records.authenticator_failed(session, client, error)
            return _UNAVAILABLE
    records.authentication(session, client, credentials.login, success=success)
    return AUTHENTICATED if success else BAD_CREDENTIALS


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
