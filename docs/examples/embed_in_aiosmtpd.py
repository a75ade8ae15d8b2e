"""A program with an aiosmtpd server of its own, and this gateway's envelope and connectors behind it.

python docs/examples/embed_in_aiosmtpd.py, then send mail to 127.0.0.1:8025; it is kept in ./mail.
"""

import asyncio

from aiosmtpd.smtp import SMTP

from connectors.directory import CONNECTOR
from gateway.delivery import Destination, Route, Routes
from gateway.embed.aiosmtpd import MailsluiceHandler


async def main() -> None:
    settings = CONNECTOR.settings(name="archive", type="directory", path="mail")
    connector = CONNECTOR.build(settings, {})
    await connector.open()
    archive = Destination(
        connector,
        name=settings.name,
        metadata=settings.metadata,
        deadline_seconds=settings.deadline_seconds,
        max_in_flight=CONNECTOR.max_in_flight,
    )
    routes = Routes([Route(recipients=("*",), destinations=(archive,))], hostname="localhost")
    handler = MailsluiceHandler(routes, hostname="localhost")
    server = await asyncio.get_running_loop().create_server(lambda: SMTP(handler), "127.0.0.1", 8025)
    try:
        await server.serve_forever()
    finally:
        await connector.close()


if __name__ == "__main__":
    asyncio.run(main())
