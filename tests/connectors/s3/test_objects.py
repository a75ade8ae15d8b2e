from datetime import UTC, datetime

import pytest
from msgspec import structs

from connectors.s3 import S3Settings, objects
from gateway.address import Address
from gateway.envelope import Sender, shared_content_key
from gateway.template import Template


def settings(**keys):
    return S3Settings(name="archive", bucket="mail", **keys)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a@example.net", "a@example.net/2026/11/21/"),
        ("", "_/2026/11/21/"),
        ("..", "_./2026/11/21/"),
        ("../../etc@example.net", "_._.._etc@example.net/2026/11/21/"),
        ("a/b\\c%2f\r\n?#&;ü@x", "a_b_c_2f_______@x/2026/11/21/"),
    ],
)
def test_strangers_words_make_no_folders(samples, value, expected):
    envelope = samples["plain"].envelope
    sender = Sender(address=Address(raw=value, local_part="", domain=""))
    envelope = structs.replace(
        envelope,
        received_at="2026-11-21T23:59:59.999999Z",
        envelope=structs.replace(envelope.envelope, mail_from=sender),
    )
    assert objects.folder_of(Template("{sender}/"), envelope) == expected


def test_every_key_is_known_as_our_own(samples):
    mail = samples["metadata of every type"]
    place = objects.folder_of(Template("mail/"), mail.envelope)
    keys = [item.key for item in objects.message_objects(mail, place)]
    keys.append(f"mail/{shared_content_key(mail.envelope.message.sha256)}")
    keys.append(objects.batch_key(place, mail.envelope.id, 500, "0123456789abcdef" * 4))
    assert all(map(objects.OWN_KEY.search, keys))


@pytest.mark.parametrize(
    "key", ["2026/11/21/report.eml", "backup/2026.tar", "2026/11/21/01KAXW4T3Q8Z5R2N6V7C9D0EFG.iso"]
)
def test_a_strangers_key_is_not_taken_for_our_own(key):
    assert not objects.OWN_KEY.search(key)


def test_terms_are_those_of_the_settings():
    now = datetime(2026, 11, 21, tzinfo=UTC)
    assert objects.terms(settings(), now) == {}
    assert objects.terms(settings(sse="AES256"), now) == {"ServerSideEncryption": "AES256"}
    assert objects.terms(
        settings(
            storage_class="GLACIER_IR",
            sse="aws:kms",
            kms_key_id="alias/mail",
            tags={"a": "1", "b c": "+"},
            object_lock_mode="COMPLIANCE",
            object_lock_days=10,
        ),
        now,
    ) == {
        "StorageClass": "GLACIER_IR",
        "ServerSideEncryption": "aws:kms",
        "SSEKMSKeyId": "alias/mail",
        "Tagging": "a=1&b+c=%2B",
        "ObjectLockMode": "COMPLIANCE",
        "ObjectLockRetainUntilDate": datetime(2026, 12, 1, tzinfo=UTC),
    }
