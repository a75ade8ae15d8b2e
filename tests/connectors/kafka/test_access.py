"""Getting in at a real broker: TLS, logins, and what the operator reads when they fail."""

import asyncio
import ssl
import time

import pytest
import trustme

from connectors.kafka import CONNECTOR
from connectors.kafka.credentials import read_credentials
from gateway.connector import PermanentFailure, TransientFailure
from gateway.testing.samples import plain_mail
from tests.servers.ports import free_port

CANARY = "canary-7f3a"


@pytest.fixture
def login(kafka) -> dict:
    return {
        "bootstrap_servers": kafka.tls_bootstrap.split(","),
        "tls": True,
        "tls_ca_file": kafka.ca_file,
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_username": kafka.username,
        "sasl_password": kafka.password,
    }


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-512"])
async def test_it_logs_in_over_tls(kafka, make_topic, start, login, mechanism):
    topic = make_topic()
    connector = await start(topic, **{**login, "sasl_mechanism": mechanism})
    await connector.emit(plain_mail())
    assert len(await kafka.read(topic, 1)) == 1


async def test_the_password_may_lie_in_a_file(kafka, make_topic, start, login, tmp_path):
    file = tmp_path / "password"
    file.write_text(kafka.password + "\n")
    del login["sasl_password"]
    connector = await start(make_topic(), **login, sasl_password_file=file)
    await connector.emit(plain_mail())


@pytest.mark.parametrize(
    ("keys", "hint"),
    [
        ({"sasl_password": CANARY}, "refuse the user or the password"),
        ({"sasl_password": CANARY, "sasl_mechanism": "PLAIN"}, "refuse the user or the password"),
        ({"sasl_mechanism": "SCRAM-SHA-256"}, "do not offer this sasl_mechanism"),
        ({"tls_ca_file": None}, "certificate is not trusted"),
    ],
    ids=["password for SCRAM", "password for PLAIN", "mechanism", "certificate"],
)
async def test_a_refused_login_stops_the_start_and_says_why(make_topic, start, login, keys, hint):
    with pytest.raises(PermanentFailure, match=hint) as caught:
        await start(make_topic(), **{**login, **keys})
    assert str(caught.value.status) == "5.3.5"
    assert CANARY not in str(caught.value)


async def test_a_login_that_is_refused_later_is_transient(kafka, make_topic, start, login, tmp_path):
    down = f"127.0.0.1:{free_port()}"
    connector = await start(make_topic(), **{**login, "bootstrap_servers": [down], "sasl_password": CANARY})
    with pytest.raises(TransientFailure, match="ConnectionRefusedError"):
        await connector.emit(plain_mail())
    connector._settings = connector._settings.model_copy(update={"bootstrap_servers": login["bootstrap_servers"]})
    connector._producer._sessions._not_before = 0.0
    with pytest.raises(TransientFailure, match="refuse the user or the password") as caught:
        await connector.emit(plain_mail())
    assert str(caught.value.status) == "4.3.5"


async def test_an_authority_that_is_not_the_brokers_is_not_believed(make_topic, start, login, tmp_path):
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(other)
    with pytest.raises(PermanentFailure, match="certificate is not trusted"):
        await start(make_topic(), **{**login, "tls_ca_file": other})


@pytest.mark.parametrize(
    ("key", "complaint"),
    [
        ("tls_ca_file", "tls_ca_file .* cannot be used"),
        ("tls_cert_file", "tls_cert_file .* cannot be used"),
        ("sasl_password_file", "secret file .* it is not UTF-8"),
    ],
)
async def test_a_file_of_the_wrong_kind_stops_the_start(start, login, tmp_path, key, complaint):
    file = tmp_path / "file"
    file.write_bytes(b"\xff")
    if key == "sasl_password_file":
        del login["sasl_password"]
    with pytest.raises(PermanentFailure, match=complaint):
        await start("mail", **{**login, key: file})


async def test_a_broker_that_refuses_connections_does_not_stop_the_start(start):
    connector = await start("mail", bootstrap_servers=[f"127.0.0.1:{free_port()}"])
    with pytest.raises(TransientFailure, match="ConnectionRefusedError") as caught:
        await connector.emit(plain_mail())
    assert str(caught.value.status) == "4.4.1"


async def test_the_next_broker_of_the_list_is_tried(kafka, make_topic, start):
    servers = [f"127.0.0.1:{free_port()}", kafka.bootstrap]
    connector = await start(make_topic(), bootstrap_servers=servers)
    await connector.emit(plain_mail())


async def test_of_several_reasons_the_one_that_needs_the_operator_decides(kafka, login, start):
    servers = [f"127.0.0.1:{free_port()}", *login["bootstrap_servers"]]
    with pytest.raises(PermanentFailure, match=r"RefusedError.*; broker .*refuse the user") as caught:
        await start("mail", **{**login, "bootstrap_servers": servers, "sasl_password": CANARY})
    assert CANARY not in str(caught.value)


async def test_a_server_that_is_no_broker_does_not_stop_the_start(start):
    async def answer(reader, writer):
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    connector = await start("mail", bootstrap_servers=[f"127.0.0.1:{server.sockets[0].getsockname()[1]}"])
    with pytest.raises(TransientFailure):
        await connector.emit(plain_mail())
    server.close()


async def test_a_server_that_never_answers_holds_up_the_start_a_few_seconds_at_most(start, silent):
    began = time.monotonic()
    await start("mail", bootstrap_servers=[silent])
    assert time.monotonic() - began < 7


async def test_many_servers_that_never_answer_do_not_stop_the_start(start, silent, monkeypatch):
    monkeypatch.setattr("connectors.kafka.connector._OPENING_SECONDS", 0.05)
    began = time.monotonic()
    connector = await start("mail", bootstrap_servers=[silent] * 10)
    assert time.monotonic() - began < 4
    await connector.close()


async def test_a_topic_that_does_not_exist_stops_the_start_where_it_is_the_only_one(kafka, start):
    with pytest.raises(PermanentFailure, match="does not exist on the brokers; create it"):
        await start("no-such-topic")


async def test_building_does_no_io_and_what_was_never_opened_can_be_closed():
    table = {"name": "events", "bootstrap_servers": ["192.0.2.1:9092"], "topic": "mail"}
    connector = CONNECTOR.build(CONNECTOR.settings.model_validate(table), {})
    await connector.close()


def test_the_contexts_verify_certificates_and_names(kafka):
    table = {"name": "events", "bootstrap_servers": ["k:9092"], "topic": "mail", "tls": True}
    credentials = read_credentials(CONNECTOR.settings.model_validate({**table, "tls_ca_file": kafka.ca_file}))
    for context in (credentials.tls, credentials.registry_tls):
        assert context.verify_mode is ssl.CERT_REQUIRED
        assert context.check_hostname
