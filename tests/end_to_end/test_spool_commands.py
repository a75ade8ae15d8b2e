"""What an operator does to the spool of a gateway that runs."""

import json

import pytest

from gateway import archive
from gateway.codec import bmtd
from tests.cli.spools import run
from tests.end_to_end import tables
from tests.end_to_end.gateway import Gateway
from tests.end_to_end.mails import CONTAINERS, MAIL, RECEIVED
from tests.end_to_end.spools import DELIVERED, drained, wait_until_listed
from tests.end_to_end.wire import deliver


@pytest.fixture
def gateway(tmp_path, consumer):
    """A gateway that takes mail for the consumer into its spool."""
    route = tables.route("consumer") + 'accept = "spooled"\n'
    configuration = tables.LISTENERS + tables.http(consumer.url) + tables.directory(name="copy", path="copy") + route
    with Gateway(tmp_path, configuration) as gateway:
        yield gateway
        assert gateway.stop() == 0


def send(gateway):
    (reply,) = deliver(gateway.addresses["lmtp"], MAIL, "bob@example.org", hello="LHLO", containers=CONTAINERS)
    assert reply.startswith("250 "), reply
    return gateway.record(reply)["id"]


def mailsluice(gateway, *arguments):
    outcome = run(*arguments, "--config", "mailsluice.toml", folder=gateway.folder)
    assert (outcome.returncode, outcome.stderr) == (0, "")
    return outcome.stdout


def spooled(gateway):
    return [json.loads(line) for line in mailsluice(gateway, "spool", "ls", "--json").splitlines()]


def test_a_dead_letter_is_seen_and_delivered_after_a_retry(gateway, consumer):
    consumer.status, consumer.text = 422, "no invoice in it"
    id_ = send(gateway)
    gateway.wait_for("alarm: dead letter")
    drained(gateway)
    (letter,) = spooled(gateway)
    assert (letter["id"], letter["connector"], letter["state"]) == (id_, "consumer", "dead")
    assert letter["status"].startswith("5.")
    assert letter["cause"]
    consumer.reset()
    assert mailsluice(gateway, "spool", "retry", id_) == "retried: 1, left as they are: 0\n"
    gateway.wait_for(DELIVERED)
    drained(gateway)
    (request,) = consumer.received
    assert (request["webhook-id"], request.body) == (id_, MAIL)
    assert spooled(gateway) == []


def test_a_closed_destination_gets_mail_again_when_it_is_retried(gateway, consumer):
    consumer.status = 410
    id_ = send(gateway)
    gateway.wait_for("alarm: destination closed")
    wait_until_listed(gateway, " waiting ")
    delivery, paused = spooled(gateway)
    assert (delivery["id"], delivery["state"]) == (id_, "waiting")
    assert (paused["kind"], paused["connector"]) == ("paused", "consumer")
    consumer.reset()
    assert mailsluice(gateway, "spool", "retry", "--connector", "consumer").endswith("resumed: consumer\n")
    gateway.wait_for(DELIVERED)
    drained(gateway)
    assert [request["webhook-id"] for request in consumer.received] == [id_]
    assert spooled(gateway) == []


def test_dead_letters_are_replayed_elsewhere_while_the_gateway_runs(gateway, consumer):
    consumer.status = 422
    id_ = send(gateway)
    gateway.wait_for("alarm: dead letter")
    drained(gateway)
    exported = mailsluice(gateway, "spool", "export", "--to", "export")
    assert exported == f"messages: 1, exported: 1, failed: 0, octets: {len(MAIL)}\n"
    replayed = mailsluice(gateway, "replay", "--dead", "--remove", "--to", "copy")
    assert replayed == f"mails: 1, delivered: 1, failed: 0, octets: {len(MAIL)}, dead letters removed: 1\n"
    for root in (gateway.folder / "export", gateway.folder / "copy"):
        (finding,) = archive.verify(root)
        assert finding.verdict is archive.Verdict.INTACT
        (marker,) = archive.mails(root)
        assert (marker.stem, marker.with_suffix(".eml").read_bytes()) == (id_, MAIL)
        containers = bmtd.decode(marker.with_suffix(".bmtd").read_bytes())
        assert tuple((each.type, each.data) for each in containers[1:]) == tuple(RECEIVED)
    assert spooled(gateway) == []
