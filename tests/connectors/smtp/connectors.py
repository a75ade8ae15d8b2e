"""Connectors of type smtp, made as a configuration would make them."""

from contextlib import asynccontextmanager

from connectors.smtp import CONNECTOR, SmtpSettings
from connectors.smtp.connector import SmtpConnector


def make_connector(server=None, *, exchangers=None, **settings):
    """To `server`, (host, port) or "unix:/path", or to what `exchangers` finds."""
    where = {"mx": True} if server is None else {"host": server} if isinstance(server, str) else {"host": server[0]}
    if server is not None and not isinstance(server, str):
        where["port"] = int(server[1])
    given = SmtpSettings(name="next", **{"deadline_seconds": 20, **where, **settings})
    if exchangers is None:
        return CONNECTOR.build(given, {})
    return SmtpConnector(given, lambda: exchangers)


@asynccontextmanager
async def connected(*arguments, **settings):
    """The same, open."""
    connector = make_connector(*arguments, **settings)
    await connector.open()
    try:
        yield connector
    finally:
        await connector.close()
