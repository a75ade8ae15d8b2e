"""What each answer of a consumer means."""

import pytest

from connectors.http.outcome import Answer, receipt
from gateway.connector import DeliveryFailure, DestinationClosed, PermanentFailure, Receipt, TransientFailure


def judge(status: int, **answer) -> Receipt:
    return receipt(Answer(status=status, **answer), id="01K", connector="consumer")


def failure(status: int, **answer) -> DeliveryFailure:
    with pytest.raises(DeliveryFailure) as caught:
        judge(status, **answer)
    return caught.value


def test_any_2xx_is_a_receipt():
    for status in (200, 201, 202, 204, 299):
        assert judge(status) == Receipt(id="01K", connector="consumer", type="http", location={"status": status})


@pytest.mark.parametrize(
    ("body", "stored_as"),
    [
        (b'{"id": "abc", "more": [1, {"id": 2}]}', "abc"),
        (b'{"id": 42}', 42),
        ('{"id": "ä\\r\\n\\u0000b"}'.encode(), "????b"),
        (b'{"id": "' + b"x" * 1000 + b'"}', "x" * 200),
    ],
)
@pytest.mark.parametrize("media_type", ["application/json", "application/problem+json"])
def test_the_id_in_a_json_answer_is_in_the_receipt_bounded_and_printable(body, stored_as, media_type):
    assert judge(200, media_type=media_type, body=body).location["id"] == stored_as


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"null",
        b"[]",
        b'{"id": null}',
        b'{"id": ""}',
        b'{"id": {}}',
        b'{"id": 1.5}',
        b'{"id": true}',
        b'{"id": "a"',
        b'{"id": "\xff"}',
        b'{"id": "\\ud800"}',
        b'{"id": 100000000000000000000000000}',
        b'{"id": ' + b"9" * 65000 + b"}",
        b"[" * 65536,
        b'{"a":' * 10000,
    ],
)
def test_an_answer_without_a_usable_id_is_a_receipt_all_the_same(body):
    assert judge(200, media_type="application/json", body=body).location == {"status": 200}


def test_an_id_in_another_media_type_is_not_looked_for():
    assert judge(200, media_type="text/plain", body=b'{"id": 1}').location == {"status": 200}


def test_the_location_that_the_consumer_gave_is_in_the_receipt():
    assert judge(201, location="/mails/7").location == {"status": 201, "location": "/mails/7"}
    assert judge(201, location="/\x00\udcff" + "y" * 500).location["location"] == "/??" + "y" * 197


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 599, 600])
def test_not_now_is_transient(status):
    found = failure(status, media_type="text/plain", body=b"Traceback: /srv/app.py", retry_after="120\x1b")
    assert isinstance(found, TransientFailure)
    assert str(found.status) == "4.3.0"
    assert found.text == "the destination cannot take the mail now, try again later"
    assert found.cause == f"HTTP {status}: Traceback: /srv/app.py, Retry-After: 120?"


@pytest.mark.parametrize("status", [500, 501, 502, 503, 504, 599])
def test_a_server_that_failed_may_have_the_mail(status):
    assert failure(status).possibly_stored
    # … but not before it had all of it.
    assert not failure(status, is_early=True).possibly_stored


@pytest.mark.parametrize("status", [101, 301, 307, 408, 425, 429])
def test_a_request_that_was_not_carried_out_left_nothing(status):
    assert not failure(status).possibly_stored


def test_2xx_to_a_part_of_the_mail_is_no_receipt():
    found = failure(200, is_early=True)
    assert isinstance(found, TransientFailure)
    assert found.possibly_stored


@pytest.mark.parametrize(("status", "seconds"), [(429, 7), (502, 7), (503, 7), (504, 7), (408, 0), (500, 0), (599, 0)])
def test_an_overloaded_consumer_says_when_to_come_again(status, seconds):
    assert failure(status, retry_after="7").retry_after_seconds == seconds
    assert failure(status, retry_after="later").retry_after_seconds == 0
    assert failure(status).retry_after_seconds == 0


def test_only_410_closes_the_destination():
    for status in range(400, 500):
        if isinstance(failure(status), PermanentFailure):
            assert isinstance(failure(status), DestinationClosed) == (status == 410)


@pytest.mark.parametrize("status", [101, 300, 301, 302, 303, 304, 307, 308, 399])
def test_a_redirection_is_transient_because_the_operator_can_mend_the_url(status):
    found = failure(status, location="https://elsewhere.example/\n")
    assert isinstance(found, TransientFailure)
    assert str(found.status) == "4.3.5"
    assert "elsewhere" not in found.text
    assert f"HTTP {status} to https://elsewhere.example/?, which is not followed: set url" in found.cause


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 410, 415, 422, 431, 451, 499])
def test_any_other_4xx_refuses_for_good(status):
    found = failure(status)
    assert isinstance(found, PermanentFailure)
    assert str(found.status) == "5.7.1"
    assert found.text == f"the destination refused the mail (HTTP {status})"


def test_413_says_too_big():
    assert str(failure(413).status) == "5.3.4"


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"No such mailbox\nsecond line", "No such mailbox"),
        (b"\r\n\r\n  No such mailbox  \r\nX", "No such mailbox"),
        (b"one\rtwo", "one"),
        ("a\N{LINE SEPARATOR}b".encode(), "a"),
        (b"tab\there\x00\x07", "tab?here??"),
        ("Grüße".encode(), "Gr??e"),
        (b"\xff\xfe", "??"),
        (b"[01K] [x] forged", "01K] [x] forged"),
        (b"[[ [", "the destination refused the mail (HTTP 410)"),
        (b"", "the destination refused the mail (HTTP 410)"),
        (b"\n \n", "the destination refused the mail (HTTP 410)"),
        (b"y" * 65536, "y" * 200),
        (b" " * 65536, "the destination refused the mail (HTTP 410)"),
        ("ä".encode() * 32768, "?" * 200),
    ],
)
def test_the_first_line_of_a_plain_text_answer_is_the_reply_bounded_and_printable(body, text):
    found = failure(410, media_type="text/plain", body=body)
    assert found.text == text
    assert found.text.isascii()
    assert found.text.isprintable()
    assert len(f"550 5.7.1 {found.text} [01K0000000000000000000000X]\r\n") < 512


def test_words_in_another_media_type_stay_with_the_consumer():
    assert failure(400, media_type="text/html", body=b"<p>no</p>").text == "the destination refused the mail (HTTP 400)"
