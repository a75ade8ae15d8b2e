from concurrent.futures import CancelledError

import pytest
from botocore import exceptions as sdk

from connectors.s3 import failures
from gateway.codec import CodecError
from gateway.connector import PermanentFailure, TransientFailure


def answered(code, status):
    return sdk.ClientError(
        {"Error": {"Code": code, "Message": "what the store says"}, "ResponseMetadata": {"HTTPStatusCode": status}},
        "PutObject",
    )


def translation(error):
    with pytest.raises((TransientFailure, PermanentFailure)) as failure, failures.translated():
        raise error
    assert failure.value.__cause__ is error
    return failure.value


@pytest.mark.parametrize(
    ("code", "status", "expected"),
    [
        ("NoSuchBucket", 404, "4.3.5"),
        ("AccessDenied", 403, "4.3.5"),
        ("403", 403, "4.3.5"),
        ("InvalidAccessKeyId", 403, "4.3.5"),
        ("ExpiredToken", 400, "4.3.5"),
        ("SlowDown", 503, "4.4.2"),
        ("InternalError", 500, "4.4.2"),
        ("ConditionalRequestConflict", 409, "4.4.2"),
        ("TooManyRequests", 429, "4.4.2"),
        ("XMinioStorageFull", 507, "4.3.1"),
        ("BadDigest", 400, "4.3.0"),
        ("404", 404, "4.3.0"),
    ],
)
def test_what_an_operator_or_time_can_mend_is_temporary(code, status, expected):
    failure = translation(answered(code, status))
    assert isinstance(failure, TransientFailure)
    assert str(failure.status) == expected
    assert "what the store says" in failure.cause
    assert "what the store says" not in failure.text


@pytest.mark.parametrize(("code", "expected"), [("EntityTooLarge", "5.3.4"), ("KeyTooLongError", "5.6.0")])
def test_what_the_mail_itself_makes_impossible_is_permanent(code, expected):
    failure = translation(answered(code, 400))
    assert isinstance(failure, PermanentFailure)
    assert str(failure.status) == expected


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (sdk.EndpointConnectionError(endpoint_url="http://s3.internal"), "4.4.1"),
        (sdk.ConnectTimeoutError(endpoint_url="http://s3.internal"), "4.4.1"),
        (sdk.SSLError(endpoint_url="http://s3.internal", error="expired"), "4.4.1"),
        (sdk.ReadTimeoutError(endpoint_url="http://s3.internal"), "4.4.2"),
        (sdk.ConnectionClosedError(endpoint_url="http://s3.internal"), "4.4.2"),
        (sdk.NoCredentialsError(), "4.3.5"),
        (sdk.HTTPClientError(error="odd"), "4.3.0"),
        (OSError(28, "No space left on device"), "4.3.1"),
        (OSError("the file that holds the content ended early"), "4.3.0"),
        (CodecError("no envelope"), "4.3.0"),
        (CancelledError(), "4.3.0"),
    ],
)
def test_what_fails_here_or_on_the_way_is_temporary(error, expected):
    failure = translation(error)
    assert isinstance(failure, TransientFailure)
    assert str(failure.status) == expected
    assert "s3.internal" not in failure.text


def test_permissions_that_are_missing_are_named_to_the_operator():
    failure = failures.unusable("mail", translation(answered("AccessDenied", 403)))
    assert "'mail' cannot be used: allow this access key s3:PutObject" in failure.cause


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (answered("SlowDown", 503), True),
        (answered("InternalError", 500), True),
        (answered("ConditionalRequestConflict", 409), True),
        (answered("PreconditionFailed", 412), False),
        (answered("AccessDenied", 403), False),
        (answered("NotImplemented", 501), False),
        (sdk.ReadTimeoutError(endpoint_url=""), True),
        (sdk.EndpointConnectionError(endpoint_url=""), True),
        (sdk.NoCredentialsError(), False),
        (sdk.HTTPClientError(error="the content could not be read"), False),
    ],
)
def test_only_what_passes_by_itself_is_tried_again(error, expected):
    assert failures.is_worth_retrying(error) is expected
