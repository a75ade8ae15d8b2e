"""From an accepted MAIL to a Mail."""

import asyncio

from gateway.address import NULL_REVERSE_PATH
from gateway.envelope import Client, Origin
from gateway.ingress.transaction import SessionFacts, Transaction
from gateway.smtp import MailReceived

_FORGED = b"Authentication-Results: mx.example.org; spf=pass\r\n"
_HONEST = b"Authentication-Results: mx.example.net; spf=pass\r\n"


async def test_megabytes_of_trace_fields_are_read_while_the_other_sessions_go_on(tmp_path):
    session = SessionFacts(
        gateway="mx.example.org",
        listener="mx",
        session="s",
        client=Client(address="192.0.2.1", port=4321),
        protocol="ESMTP",
        hello="client.example",
        proxy=None,
        tls=None,
        authenticated_as="",
        trusted=False,
    )
    mail = MailReceived(address=NULL_REVERSE_PATH, parameters=(), extensions=(), size=0, body="7BIT", utf8=False)
    transaction = Transaction(session, mail, spool=tmp_path)
    transaction.add_container(0, (_FORGED + _HONEST) * 10_000)
    completion = asyncio.create_task(transaction.complete(()))
    await asyncio.sleep(0)
    assert not completion.done()
    containers = (await completion).envelope.metadata.containers
    assert [container.data for container in containers if container.origin is Origin.RECEIVED] == [_HONEST * 10_000]
