"""Standard Webhooks, against the vector of its specification and the package of its authors."""

import base64
import time
from datetime import UTC, datetime

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from connectors.http.signature import SecretError, Signature, decode_secret

ONE = "whsec_" + base64.b64encode(bytes(range(24))).decode()
OTHER = "whsec_" + base64.b64encode(bytes(range(64))).decode()


def headers(*secrets: str, mail_id: str = "01K", timestamp: int | None = None, body: bytes = b"{}") -> dict[str, str]:
    keys = [decode_secret(secret) for secret in secrets]
    signature = Signature(keys, id=mail_id, timestamp=int(time.time()) if timestamp is None else timestamp)
    signature.update(body)
    return dict(signature.headers())


def test_the_published_vector_is_reproduced():
    found = headers(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        mail_id="msg_p5jXN8AQM9LWM0D4loKWxJek",
        timestamp=1614265330,
        body=b'{"test": 2432232314}',
    )
    assert found == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


@pytest.mark.parametrize("secret", [ONE, OTHER])
def test_the_authors_package_signs_the_same(secret):
    found = headers(secret, timestamp=1700000000, body=b"body")
    assert found["webhook-signature"] == Webhook(secret).sign("01K", datetime.fromtimestamp(1700000000, UTC), "body")


@pytest.mark.parametrize("secret", [ONE, OTHER])
def test_a_consumer_with_either_secret_accepts_a_request_signed_with_both(secret):
    Webhook(secret).verify(b"{}", headers(ONE, OTHER))


def test_a_consumer_with_another_secret_refuses():
    with pytest.raises(WebhookVerificationError):
        Webhook(OTHER).verify(b"{}", headers(ONE))


def test_a_body_in_blocks_is_signed_as_a_whole():
    signature = Signature([decode_secret(ONE)], id="01K", timestamp=1)
    for block in (b"a", memoryview(b"bc"), b""):
        signature.update(block)
    assert dict(signature.headers()) == headers(ONE, timestamp=1, body=b"abc")


@pytest.mark.parametrize(
    ("secret", "complaint"),
    [
        ("", "begins with whsec_"),
        (ONE.removeprefix("whsec_"), "begins with whsec_"),
        ("whsec_", "24 to 64 octets before base64, this one 0"),
        ("whsec_" + base64.b64encode(b"x" * 23).decode(), "this one 23"),
        ("whsec_" + base64.b64encode(b"x" * 65).decode(), "this one 65"),
        ("whsec_not*base64", "base64"),
        ("whsec_c2VjcmV0LW9jdGV0cy1mb3ItdGhlLXRlc3R\N{CYRILLIC SMALL LETTER ZE}", "base64"),
    ],
)
def test_a_weak_or_broken_secret_is_refused_in_a_sentence_that_does_not_show_it(secret, complaint):
    with pytest.raises(SecretError, match=complaint) as caught:
        decode_secret(secret)
    assert secret.removeprefix("whsec_") not in str(caught.value) or len(secret) < 7
