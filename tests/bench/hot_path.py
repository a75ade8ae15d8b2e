"""The engine's hot path, for callgrind: `python -m tests.bench.hot_path (DATA|BDAT) MAILS`.

One session without a socket takes so many mails of 1 KB: by DATA in two portions of octets, as a client that pipelines
sends them, or by BDAT with two metadata containers in one.
"""

import sys
import time

from gateway.smtp import (
    SMTP,
    Limits,
    MailReceived,
    MessageReceived,
    Policy,
    RecipientReceived,
    Reply,
    ServerConnection,
    Waiting,
    extension_table,
)
from tests.bench.generator import mail_steps

__all__ = ["cpu_seconds", "take"]

_OK = Reply.of(250, "2.0.0", "ok")
_MOST_OCTETS = 1_000_000
_ROUNDS, _MAILS = 9, 2_000
_LOAD = {"size": 1024, "recipients": 1, "dialect": "SMTP"}


def take(command: str, mails: int) -> int:
    """How many mails the engine took: all of them."""
    connection = ServerConnection(
        SMTP,
        hostname="mx.example.org",
        extensions=extension_table(Policy(message_octets=_MOST_OCTETS)),
        limits=Limits(message_octets=_MOST_OCTETS),
    )
    connection.greet()
    connection.receive_data(b"EHLO client.example.net\r\n")
    steps = mail_steps({**_LOAD, "command": command, "containers": 2 if command == "BDAT" else 0})
    taken = 0
    for _ in range(mails):
        for step in steps:
            connection.receive_data(step.octets)
            while not isinstance(event := connection.next_event(), Waiting):
                if isinstance(event, MailReceived | RecipientReceived | MessageReceived):
                    connection.answer(_OK)
                    taken += isinstance(event, MessageReceived)
            connection.data_to_send()
    return taken


def cpu_seconds(command: str) -> float:
    """What one mail takes of the processor; the least of some rounds, for whatever else runs only adds to it."""
    rounds = []
    for _ in range(_ROUNDS):
        began = time.thread_time()
        take(command, _MAILS)
        rounds.append(time.thread_time() - began)
    return min(rounds) / _MAILS


if __name__ == "__main__":
    expected = int(sys.argv[2])
    sys.exit(take(sys.argv[1], expected) != expected)
