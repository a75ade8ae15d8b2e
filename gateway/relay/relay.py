"""A relay: hands mails to the next mail server, which is always the same, each in a session of its own.

The form of a mail is decided by what the server offers (`gateway.relay.form`). Nothing else about a mail is changed:
what the server cannot take as it is fails for good.
"""

import asyncio

from gateway.connector import Mail, Receipt, RetrySchedule, TransientFailure
from gateway.relay.handover import printable, refusals
from gateway.relay.session import Access, open_session
from gateway.smtp import SMTP
from gateway.smtp.reply import Reply
from gateway.sockets import TcpBind
from gateway.status import DESTINATION_UNRESPONSIVE

__all__ = ["RELAY_RETRIES", "Relay"]

# RFC 5321 §4.5.4.1: every half hour or less often, for four or five days; sooner at first, for a server that restarts.
RELAY_RETRIES = RetrySchedule(delays_seconds=(60, 300, 900, *(1800,) * 239), for_ever=False)


class Relay:
    """A Connector whose destination is the SMTP server `server`."""

    def __init__(self, server: TcpBind, *, name: str, hostname: str, deadline_seconds: float) -> None:
        """`hostname` is what this gateway says in its hello.

        A mail whose fate is open after `deadline_seconds` has failed for the time being. That is less than RFC 5321
        §4.5.3.2 would wait for some of the replies; only the relay can then say whether the server may have the mail,
        so whoever bounds it as well leaves it ten seconds more.
        """
        self.name = name
        self.server = server
        self._access = Access(dialect=SMTP, hello_name=hostname)
        self._deadline_seconds = deadline_seconds

    async def open(self) -> None:
        """Nothing to open: the server may come and go."""

    async def emit(self, mail: Mail) -> Receipt:
        """Hand over one mail; the receipt has the server's reply.

        A TransientFailure says `possibly_stored` where the whole mail was sent and the server's answer did not come.
        """
        until = asyncio.get_running_loop().time() + self._deadline_seconds
        try:
            async with asyncio.timeout_at(until):
                session = await open_session(self.server, self._access)
        except TimeoutError as error:
            cause = f"{self.server} did not begin within {self._deadline_seconds:g} seconds"
            raise TransientFailure(
                DESTINATION_UNRESPONSIVE, "the next mail server did not answer in time", cause=cause
            ) from error
        try:
            handover = await session.send(mail, until=until)
        finally:
            # Beyond the deadline: what is decided by then stays so.
            await session.close()
        refused = refusals(handover.verdicts)
        reply = next(each for each in handover.verdicts if isinstance(each, Reply))
        location: dict[str, str | int] = {
            "host": self.server.host,
            "port": self.server.port,
            "reply": printable(reply),
        }
        return Receipt(id=mail.envelope.id, connector=self.name, type="smtp", location=location, refused=refused)

    async def close(self) -> None:
        """Nothing to close: each session ends with its mail."""
