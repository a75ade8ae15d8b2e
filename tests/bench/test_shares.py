"""A sample belongs to the innermost frame that a part knows; what libraries do is their caller's."""

import pytest

from tests.bench.shares import parts_of

_LOOP = "thread (7): MainThread;Runner.run (asyncio/runners.py:86)"


@pytest.mark.parametrize(
    ("frames", "part"),
    [
        ((), "event loop: polling, reading, scheduling"),
        (("Session._write (gateway/ingress/session.py:219)",), "writing to sockets"),
        (
            (
                "Session._write (gateway/ingress/session.py:219)",
                "ServerConnection.data_to_send (gateway/smtp/server.py:9)",
            ),
            "protocol engine",
        ),
        (("Destination._deliver (gateway/delivery/destination.py:9)", "timeout (asyncio/timeouts.py:1)"), "delivery"),
        (("mail_answered (gateway/ingress/records.py:40)", "meth (structlog/_native.py:171)"), "log lines"),
        (
            ("Connector.emit (connectors/kafka/connector.py:1)", "add (aiokafka/producer/x.py:1)"),
            "connector, its library",
        ),
    ],
)
def test_a_sample_has_one_part(frames, part):
    assert parts_of([";".join((_LOOP, *frames)) + " 3"]) == {part: 3}


def test_other_threads_are_not_divided():
    assert not parts_of(["thread (8): spool;Writer._run (gateway/spool/writer.py:1) 5"])
