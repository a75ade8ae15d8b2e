import pytest
from pydantic import ValidationError

from connectors.s3 import S3Settings


def settings(**keys):
    return S3Settings(**{"name": "archive", "bucket": "mail", **keys})


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"access_key_id": "AKIA"}, "access_key_id and secret_access_key belong together"),
        ({"secret_access_key": "secret"}, "access_key_id and secret_access_key belong together"),
        ({"kms_key_id": "alias/mail", "sse": "AES256"}, 'kms_key_id needs sse = "aws:kms"'),
        ({"object_lock_mode": "GOVERNANCE"}, "object_lock_mode and object_lock_days belong together"),
        ({"object_lock_days": 3}, "object_lock_mode and object_lock_days belong together"),
        ({"prefix": "{recepient}/"}, "{recepient} is not a field of a template"),
        ({"endpoint_url": "localhost:9000"}, "should match pattern"),
        ({"tags": {"": "x"}}, "the tag '' cannot be set: a key has 1 to 128 characters"),
        ({"tags": {"a": "b&c"}}, "the tag 'a' cannot be set"),
        ({"tags": {str(n): "x" for n in range(11)}}, "at most 10 items"),
        (
            {"layout": "batch", "batch_max_age_seconds": 31},
            "batch_max_age_seconds may be half of deadline_seconds at most",
        ),
        ({"layout": "batch", "single_instance": True}, 'single_instance is for layout = "message"'),
        (
            {"single_instance": True, "object_lock_mode": "GOVERNANCE", "object_lock_days": 1},
            "single_instance and object_lock_mode exclude each other",
        ),
        ({"multipart_part_bytes": 1024}, "greater than or equal to 5242880"),
        ({"bucket": ""}, "at least 1 character"),
    ],
)
def test_what_cannot_work_is_refused_with_a_reason(keys, sentence):
    with pytest.raises(ValidationError) as error:
        settings(**keys)
    assert sentence in str(error.value)


def test_a_bucket_is_all_that_is_needed():
    assert settings().layout == "message"


def test_the_secret_is_in_no_representation():
    shown = settings(access_key_id="AKIA", secret_access_key="canary")
    assert "canary" not in f"{shown!r} {shown} {shown.model_dump_json()}"
