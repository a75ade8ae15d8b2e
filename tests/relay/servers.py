"""Servers that a relay hands mail to, and the relay to each."""

from contextlib import asynccontextmanager, contextmanager

from aiosmtpd.controller import Controller

from gateway.delivery import Destination, Route, Routes
from gateway.ingress import Listener, ListenerSettings
from gateway.relay import Relay
from gateway.smtp import SMTP, Limits, Policy, extension_table
from gateway.sockets import TcpBind
from gateway.testing import MemoryConnector
from tests.servers.ports import free_port

HOSTNAME = "gw.example.net"
SECONDS = 20


def relay_to(host, port, *, deadline_seconds=SECONDS):
    return Relay(TcpBind(host, int(port)), name="next", hostname=HOSTNAME, deadline_seconds=deadline_seconds)


@asynccontextmanager
async def our_listener(spool, *, disabled=()):
    """A listener of this gateway that takes mail for anybody: the relay to it, and what it took."""
    async with listening(spool, disabled=disabled) as ((host, port), taken):
        yield relay_to(host, port), taken


@asynccontextmanager
async def listening(
    spool, *, disabled=(), dialect=SMTP, taken=None, policy=None, hostname="mx.example.org", referral=None, **settings
):
    """A listener of this gateway that takes mail for anybody: where it is, and what it took, or the `taken` it has.

    With a `referral` it refers those who may be referred, and ask for it.
    """
    taken = MemoryConnector() if taken is None else taken
    destination = Destination(taken, name="memory", metadata="preserve", deadline_seconds=SECONDS, max_in_flight=10)
    routes = Routes([Route(recipients=("*",), destinations=(destination,), referral=referral)], hostname=hostname)
    settings = ListenerSettings(
        name="mx",
        hostname=hostname,
        dialect=dialect,
        extensions=extension_table(policy or Policy(message_octets=100_000_000), disabled=disabled),
        limits=Limits(message_octets=100_000_000),
        spool=spool,
        **settings,
    )
    listener = Listener(settings, routes)
    ((host, port),) = await listener.listen_tcp("127.0.0.1", 0)
    try:
        yield (host, port), taken
    finally:
        await listener.stop(seconds=SECONDS)


class Mailbox:
    """What aiosmtpd was given."""

    def __init__(self):
        self.mails = []

    async def handle_DATA(self, _server, _session, envelope):
        self.mails.append((envelope.mail_from, envelope.rcpt_tos, envelope.original_content))
        return "250 2.0.0 taken"


@contextmanager
def aiosmtpd():
    mailbox = Mailbox()
    controller = Controller(mailbox, hostname="127.0.0.1", port=free_port(), enable_SMTPUTF8=True)
    controller.start()
    try:
        yield mailbox, controller.port
    finally:
        controller.stop()
