"""A wall clock that jumps: while the gateway runs, and between two of its lives."""

from datetime import UTC, datetime

import pytest

from tests.end_to_end import tables
from tests.end_to_end.gateway import Gateway
from tests.end_to_end.mails import MAIL
from tests.end_to_end.spools import DELIVERED, PUT_OFF, drained, id_in
from tests.end_to_end.wire import deliver
from tests.torture.shim import Faults
from tests.torture.sinks import HttpSink

TO = "bob@example.org"
HOUR, DAY = 3600, 86400
NOW = int(datetime.now(UTC).timestamp())
JUMPS = {
    "an hour back": -HOUR,
    "an hour on": HOUR,
    "a day back": -DAY,
    "a day on": DAY,
    "1970": -NOW + DAY,
    "2038": int(datetime(2038, 1, 19, 4, tzinfo=UTC).timestamp()) - NOW,
}


@pytest.fixture
def clock(tmp_path):
    """The clock of the gateways in this test."""
    with Faults(tmp_path / "nothing") as shim:
        yield shim


def test_a_clock_that_jumps_under_a_running_gateway_changes_no_id_and_no_retry(tmp_path, clock):
    """One mail at each time that the clock shows. All wait for a consumer, which then gets them when they are due."""
    with HttpSink(tmp_path) as consumer:
        consumer.process.kill()
        configuration = tables.LISTENERS + consumer.table() + tables.spooled("consumer")
        with Gateway(tmp_path, configuration, environment=clock.environment()) as gateway:
            accepted = []
            for jump in (0, *JUMPS.values(), 0):
                clock.set_clock(jump)
                accepted.append(id_in(deliver(gateway.addresses["smtp"], MAIL, TO)[0]))
            gateway.wait_for(PUT_OFF, count=len(accepted))
            consumer.start()
            drained(gateway)
            assert gateway.stop() == 0
        assert len(set(accepted)) == len(accepted)
        # After five seconds, whatever the clock says, and none was given up.
        assert sorted(mail.mail_id for mail in consumer.delivered()) == sorted(accepted)


@pytest.mark.parametrize("jump", ["an hour back", "a day on", "1970", "2038"])
def test_a_clock_that_is_wrong_after_a_restart_loses_nothing(tmp_path, clock, jump):
    """What was put off for some seconds is due at once, or when the clock is right again."""
    with HttpSink(tmp_path) as consumer:
        consumer.process.kill()
        configuration = tables.LISTENERS + consumer.table() + tables.spooled("consumer")
        with Gateway(tmp_path, configuration, environment=clock.environment()) as gateway:
            accepted = [id_in(deliver(gateway.addresses["smtp"], MAIL, TO)[0])]
            gateway.wait_for(PUT_OFF)
            gateway.kill()
            clock.set_clock(JUMPS[jump])
            consumer.start()
            gateway.start()
            accepted.append(id_in(deliver(gateway.addresses["smtp"], MAIL, TO)[0]))
            if jump == "an hour back":
                # The spool has the time at which it is due, and cannot tell such a jump from a schedule.
                gateway.wait_for(DELIVERED)
                assert gateway.stop() == 0
                clock.set_clock(0)
                gateway.start()
            drained(gateway)
            assert gateway.stop() == 0
        assert sorted(mail.mail_id for mail in consumer.delivered()) == sorted(accepted)
