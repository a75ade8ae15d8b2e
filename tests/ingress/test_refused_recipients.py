"""What the client reads when a destination has the mail for some of its recipients only."""

from gateway.connector import PermanentFailure, TransientFailure
from gateway.delivery import Destination, Route, submit
from gateway.ingress.acknowledge import acknowledge
from gateway.smtp import LMTP, SMTP
from gateway.status import Status
from gateway.testing import MemoryConnector
from tests.delivery.test_submit import mail_to

FULL = TransientFailure(Status(4, 2, 2), "mailbox full")
UNKNOWN = PermanentFailure(Status(5, 1, 1), "no such user")


async def codes(dialect, **refused):
    connector = MemoryConnector()
    connector.refused = {f"{name}@x": failure for name, failure in refused.items()}
    destination = Destination(connector, name="memory", metadata="preserve", deadline_seconds=60, max_in_flight=8)
    route = Route(recipients=("*",), destinations=(destination,))
    outcomes = await submit(mail_to("a@x", "b@x", "c@x"), [route] * 3)
    return [(reply.code, str(reply.status)) for reply in acknowledge(dialect, "1", outcomes)]


async def test_an_lmtp_client_reads_for_each_recipient_what_became_of_it():
    assert await codes(LMTP, b=UNKNOWN, c=FULL) == [(250, "2.0.0"), (550, "5.1.1"), (452, "4.2.2")]


async def test_an_smtp_client_is_never_told_that_all_is_well_when_somebody_was_refused():
    assert await codes(SMTP) == [(250, "2.0.0")]
    assert await codes(SMTP, b=UNKNOWN) == [(550, "5.1.1")]
    assert await codes(SMTP, a=UNKNOWN, c=FULL) == [(452, "4.2.2")]
