"""A listener that asks for everything: a client certificate, a login by SCRAM-SHA-256, and rights for each topic."""

import asyncio
from collections.abc import Iterator

import pytest

from gateway.connector import PermanentFailure, Receipt, TransientFailure
from tests.conftest import _starting
from tests.connectors.kafka.outcomes import emitted_at_last, outcome, outcomes, session_of, to
from tests.servers.kafka import KafkaCluster

STRICT = {
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "super.users": "User:ANONYMOUS",
    "allow.everyone.if.no.acl.found": "true",
    "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
    "listener.name.sasl_ssl.ssl.client.auth": "required",
}


@pytest.fixture(scope="module")
def strict() -> Iterator[KafkaCluster]:
    with _starting(KafkaCluster) as start:
        yield start(settings=STRICT)


@pytest.fixture
def login(strict) -> dict:
    return {
        "cluster": strict,
        "bootstrap_servers": strict.tls_bootstrap.split(","),
        "tls": True,
        "tls_ca_file": strict.ca_file,
        "tls_cert_file": strict.client_cert_file,
        "sasl_mechanism": "SCRAM-SHA-256",
        "sasl_username": strict.username,
        "sasl_password": strict.password,
    }


def allow(cluster, operation: str, topic: str, user: str) -> None:
    rule = ("--add", "--allow-principal", f"User:{user}", "--operation", operation, "--topic", topic)
    cluster.run_tool("org.apache.kafka.tools.AclCommand", *rule)


async def test_without_the_client_certificate_that_brokers_ask_for_nothing_is_sent(strict, start, login):
    strict.create_topic("unreached")
    connector = await start("unreached", **{**login, "tls_cert_file": None})
    failure = await outcome(connector, to("example.org"))
    assert isinstance(failure, TransientFailure)
    assert not failure.possibly_stored


async def test_missing_rights_are_told_at_the_start(strict, start, login):
    strict.create_topic("not-ours")
    allow(strict, "Read", "not-ours", "somebody-else")
    with pytest.raises(PermanentFailure, match="the right"):
        await start("not-ours", **login)


async def test_mail_to_a_topic_without_the_right_to_write_waits_for_it_and_holds_up_no_other(strict, start, login):
    strict.create_topic("mail.denied")
    strict.create_topic("mail.granted")
    allow(strict, "Describe", "mail.denied", strict.username)
    connector = await start("mail.{recipient_domain}", **login)
    assert isinstance(await outcome(connector, to("granted")), Receipt)
    session = session_of(connector)
    held = to("denied")
    for _ in range(5):
        refused, *others = await outcomes(connector, [held, *(to("granted") for _ in range(20))])
        assert isinstance(refused, TransientFailure)
        assert (str(refused.status), refused.possibly_stored) == ("4.3.5", False)
        assert "topic mail.denied: " in refused.cause
        assert "the rights to describe and write" in refused.cause
        assert {type(each) for each in others} == {Receipt}
    assert session_of(connector) is session

    await asyncio.to_thread(allow, strict, "Write", "mail.denied", strict.username)
    await emitted_at_last(connector, held)
    assert [record.key for record in await strict.read("mail.denied")] == [held.envelope.id.encode()]
    assert len(await strict.read("mail.granted")) == 101
