"""Mail to HTTP consumers: they decide, and the client reads what they said."""

import pytest

from tests.connectors.http.consumers import SECRET, example_app, served
from tests.end_to_end import tables
from tests.end_to_end.mails import CONTAINERS, MAIL
from tests.end_to_end.wire import Wire, deliver

FORMATS = ("cloudevents-binary", "cloudevents-structured", "raw", "multipart")


@pytest.fixture(scope="module")
def example():
    """The consumer of the documentation."""
    with served(example_app(SECRET)) as url:
        yield url + "/mail"


def test_the_example_consumer_takes_a_mail_in_every_format(start_gateway, example, capsys):
    text = "".join(
        tables.http(example, name=form, form=form) + tables.route(form, recipients=f"{form}@example.org")
        for form in FORMATS
    )
    gateway = start_gateway(text)
    for form in FORMATS:
        (reply,) = deliver(gateway.addresses["lmtp"], MAIL, f"{form}@example.org", hello="LHLO", containers=CONTAINERS)
        assert reply.startswith("250 2.0.0 ")
        record = gateway.record(reply)
        assert reply == f"250 2.0.0 {record['id']} accepted"
        assert record["receipts"] == {form: {"status": 200, "id": record["id"]}}
        assert capsys.readouterr().out.splitlines() == [
            f"mail {record['id']}, {len(MAIL)} octets",
            "    From: 'ann@example.net'",
            "    To: 'bob@example.org'",
            "    Subject: 'hello'",
        ]


@pytest.mark.parametrize(
    ("status", "text", "expected"),
    [
        (200, "", "250 2.0.0 {id} accepted"),
        (204, "", "250 2.0.0 {id} accepted"),
        (302, "", "451 4.3.5 {id} the destination is not configured correctly, try again later"),
        (408, "too slow", "451 4.3.0 {id} the destination cannot take the mail now, try again later"),
        (429, "too many", "451 4.3.0 {id} the destination cannot take the mail now, try again later"),
        (503, "out of order", "451 4.3.0 {id} the destination cannot take the mail now, try again later"),
        (410, "this mailbox has gone\nsecond line", "550 5.7.1 {id} this mailbox has gone"),
        (422, "no invoice in it \u2026\r\n250 ok", "550 5.7.1 {id} no invoice in it ?"),
        (404, "", "550 5.7.1 {id} the destination refused the mail (HTTP 404)"),
        (413, "too big for us", "552 5.3.4 {id} too big for us"),
    ],
)
@pytest.mark.parametrize(("listener", "hello"), [("smtp", "EHLO"), ("lmtp", "LHLO")])
def test_the_answer_of_the_consumer_is_the_answer_to_the_client(
    gateway_to_consumer, consumer, *, status, text, expected, listener, hello
):
    consumer.status, consumer.text = status, text
    (reply,) = deliver(gateway_to_consumer.addresses[listener], MAIL, "bob@example.org", hello=hello)
    id_ = consumer.received[-1]["webhook-id"]
    assert reply == expected.format(id=id_)
    assert consumer.received[-1].body == MAIL


def test_a_session_goes_on_after_a_refusal(gateway_to_consumer, consumer):
    with Wire(gateway_to_consumer.addresses["smtp"]) as client:
        client.greet()
        for status, code in ((422, "550"), (503, "451"), (200, "250")):
            consumer.status = status
            client.begin("bob@example.org")
            assert client.data(b"Subject: again\r\n\r\n").startswith(code)


@pytest.fixture(scope="module")
def gateway_to_consumer(start_shared_gateway, consumer_server):
    return start_shared_gateway(tables.http(consumer_server.url) + tables.route("consumer"))
