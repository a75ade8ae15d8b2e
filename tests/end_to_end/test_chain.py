"""The whole way of a mail: into a topic, out of it again, through a second gateway, and into a mailbox."""

import hashlib
import time
from email.parser import BytesHeaderParser

import pytest

from tests.cli.spools import run
from tests.end_to_end import tables
from tests.end_to_end.mails import RECEIVED, TRACE
from tests.end_to_end.wire import deliver

SECONDS = 30
TEXT = b"From: ann@example.net\r\nTo: bob@example.org\r\nSubject: hello\r\n\r\n.dot\r\n..two dots\r\nno more\r\n"


def delivered(server):
    """The first mail in the mailbox, in the line ends that it was sent with."""
    end = time.monotonic() + SECONDS
    while not (mails := server.mails()):
        assert time.monotonic() < end, server.log()
        time.sleep(0.05)  # Exim delivers in processes of its own, and tells nobody
    return mails[0].replace(b"\n", b"\r\n")


@pytest.mark.parametrize("text", [TEXT, TEXT + b"a long one\r\n" * 100_000], ids=["small", "large"])
def test_a_mail_comes_out_of_kafka_into_a_mailbox_as_it_went_in(start_gateway, kafka, topic, exim, text):
    mailbox = exim()
    last = start_gateway(tables.smtp(f"127.0.0.1:{mailbox.port}") + tables.route("next"))
    host, port = last.address("smtp")
    configuration = (
        tables.directory(name="claims", path="claims")
        + tables.kafka(kafka, topic, "inline_max_bytes = 1000", 'claim_check = "claims"')
        + tables.smtp(f"{host}:{port}")
        + tables.route("events")
    )
    first = start_gateway(configuration)
    containers = tuple(type_.to_bytes(2) + data for type_, data in RECEIVED)
    (reply,) = deliver(first.addresses["smtp"], text, "bob@example.org", containers=containers)
    (first.folder / "replay.toml").write_text(tables.LISTENERS + configuration)
    said = run("replay", "--config", "replay.toml", "--kafka", "events", "--to", "next", folder=first.folder)
    assert said.stdout == f"mails: 1, delivered: 1, failed: 0, octets: {len(text)}\n"

    stored = delivered(mailbox)
    assert hashlib.sha256(stored[-len(text) :]).hexdigest() == hashlib.sha256(text).hexdigest()
    header = stored[: -len(text)]
    # Newest first: Exim, the second gateway, the first one, and the trace that the mail came with.
    hops = BytesHeaderParser().parsebytes(header).get_all("Received")
    assert [" ".join(hop.split()).partition(" by ")[2].split()[0] for hop in hops] == [
        "mail.example.org",
        "mx.example.org",
        "mx.example.org",
        "b.example;",
    ]
    assert first.record(reply)["id"] in hops[2]
    assert header.endswith(TRACE)
