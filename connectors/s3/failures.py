"""What an error of the SDK or of the store means for a mail.

Almost all are temporary: what an operator can mend (a password, a bucket, a quota) is no reason to bounce mail.
At `open` the same error is the operator's to read, and permanent.

Whether an object may be there although the store never said so, `Store.attempt` finds out (`OutcomeUnknown`). That only
means that the mail may be stored where the object is what makes it one: that is what `unsettling` is for.
"""

import errno
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionClosedError,
    ConnectTimeoutError,
    CredentialRetrievalError,
    EndpointConnectionError,
    InvalidEndpointConfigurationError,
    InvalidRegionError,
    NoCredentialsError,
    NoRegionError,
    ParamValidationError,
    PartialCredentialsError,
    ProxyConnectionError,
    ReadTimeoutError,
    SSLError,
)

from gateway.codec import CodecError
from gateway.connector import DeliveryFailure, PermanentFailure, TransientFailure
from gateway.status import (
    DESTINATION_UNREACHABLE,
    DESTINATION_UNRESPONSIVE,
    LOCAL_ERROR,
    MESSAGE_REFUSED,
    MESSAGE_TOO_BIG,
    MISCONFIGURED,
    STORAGE_FULL,
    UNUSABLE,
)

__all__ = [
    "OutcomeUnknown",
    "code_of",
    "fresh",
    "is_answered_by_looking",
    "is_missing",
    "is_open",
    "is_worth_retrying",
    "translated",
    "unsettling",
    "unusable",
]

_REFUSED_AS_TOO_LARGE = {"EntityTooLarge", "MaxMessageLengthExceeded"}
_FOR_THE_OPERATOR = {
    "AccessDenied",
    "AccountProblem",
    "AllAccessDisabled",
    "AuthorizationHeaderMalformed",
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidBucketName",
    "InvalidRequest",
    "InvalidStorageClass",
    "InvalidTag",
    "InvalidToken",
    "NoSuchBucket",
    "NotImplemented",
    "NotSignedUp",
    "PermanentRedirect",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
    "KMS.DisabledException",
    "KMS.NotFoundException",
}
_FULL = {"QuotaExceeded", "InsufficientCapacity", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded"}
_PASSING = {"ConditionalRequestConflict", "OperationAborted", "RequestTimeout", "SlowDown"}
_UNREACHABLE = (EndpointConnectionError, ConnectTimeoutError, ProxyConnectionError, SSLError)
_UNRESPONSIVE = (ReadTimeoutError, ConnectionClosedError)
_NO_CREDENTIALS = (NoCredentialsError, PartialCredentialsError, CredentialRetrievalError)
_WRONG_SETTINGS = (InvalidEndpointConfigurationError, InvalidRegionError, NoRegionError, ParamValidationError)

_WRONG_KEY = "correct `access_key_id` and `secret_access_key`"
_ADVICE = {
    "NoSuchBucket": "create it, or correct `bucket`",
    "InvalidBucketName": "correct `bucket`",
    "InvalidAccessKeyId": _WRONG_KEY,
    "SignatureDoesNotMatch": _WRONG_KEY,
    "AccessDenied": "allow this access key s3:PutObject, s3:GetObject, s3:AbortMultipartUpload and "
    "s3:ListBucketMultipartUploads; for single_instance also s3:ListBucket and s3:DeleteObject",
    "PermanentRedirect": "correct `region` or `endpoint_url`",
    "RequestTimeTooSkewed": "set this machine's clock",
}


class OutcomeUnknown(Exception):
    """An object may be there or not. `error` is what went wrong last."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


def code_of(error: ClientError) -> str:
    """The store's name for what went wrong, such as `NoSuchBucket`; the HTTP status where the answer had no body."""
    return str(error.response.get("Error", {}).get("Code", ""))


def is_worth_retrying(error: Exception) -> bool:
    """Whether the same request may succeed a moment later: the connection broke, or the store is busy."""
    if isinstance(error, ClientError):
        status = _http_status(error)
        return code_of(error) in _PASSING or status == 429 or status in (500, 502, 503, 504)
    return isinstance(error, (*_UNREACHABLE, *_UNRESPONSIVE))


def is_open(error: Exception) -> bool:
    """Whether an object may be there although this was the answer to storing it, or instead of one.

    A server that failed may have failed after it stored the object. 409 says that another request is storing under this
    key, which can only be an earlier one of ours.
    """
    if isinstance(error, ClientError):
        return _http_status(error) in (500, 502, 503, 504) or code_of(error) == "ConditionalRequestConflict"
    return isinstance(error, _UNRESPONSIVE)


def is_answered_by_looking(error: Exception) -> bool:
    """Whether the object is there already, or its upload not any more: what lies under the key tells the rest."""
    # NoSuchUpload: an earlier attempt may have completed it, and its answer is lost. The numbers are what is left of an
    # answer without its body.
    return isinstance(error, ClientError) and code_of(error) in {"PreconditionFailed", "412", "NoSuchUpload", "404"}


def is_missing(error: Exception) -> bool:
    """Whether the store says that there is no such object."""
    return isinstance(error, ClientError) and _http_status(error) == 404


def unusable(bucket: str, failure: TransientFailure) -> PermanentFailure:
    """The failure of a connector that cannot be opened: what the operator has to do, then what the store said."""
    error = failure.__cause__
    advice = "correct the connector's settings"
    if isinstance(error, ClientError):
        advice = _ADVICE.get(code_of(error), advice)
    elif isinstance(error, _NO_CREDENTIALS):
        advice = "set `access_key_id` and `secret_access_key`, or give the SDK credentials in one of its own ways"
    cause = f"the bucket {bucket!r} cannot be used: {advice} ({failure.cause})"
    return PermanentFailure(UNUSABLE, "the archive cannot be opened", cause=cause)


@contextmanager
def translated() -> Iterator[None]:
    """Turn what the SDK, the store and the content's file raise into TransientFailure or PermanentFailure."""
    try:
        yield
    except OutcomeUnknown as unknown:
        raise _failure(unknown.error) from unknown.error
    except (ClientError, CancelledError, BotoCoreError, CodecError, OSError) as error:
        raise _failure(error) from error


@contextmanager
def unsettling() -> Iterator[None]:
    """For storing the object that makes a mail: with the object's outcome unknown, the mail may be stored."""
    try:
        yield
    except OutcomeUnknown as unknown:
        failure = _failure(unknown.error)
        if isinstance(failure, TransientFailure):
            failure.possibly_stored = True
        raise failure from unknown.error


def fresh(failure: DeliveryFailure) -> DeliveryFailure:
    """The same failure as an exception of its own: one that several mails share would gather their tracebacks."""
    if isinstance(failure, TransientFailure):
        return TransientFailure(
            failure.status, failure.text, cause=failure.cause, possibly_stored=failure.possibly_stored
        )
    return type(failure)(failure.status, failure.text, cause=failure.cause)


def _failure(error: Exception) -> DeliveryFailure:
    if isinstance(error, ClientError):
        return _from_answer(error)
    if isinstance(error, BotoCoreError):
        return _from_sdk(error)
    if isinstance(error, CancelledError):
        return TransientFailure(LOCAL_ERROR, "the delivery was stopped, try again later")
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    text = "the message could not be read here, try again later"
    return TransientFailure(STORAGE_FULL if full else LOCAL_ERROR, text, cause=str(error))


def _http_status(error: ClientError) -> int:
    return int(error.response["ResponseMetadata"]["HTTPStatusCode"])


def _from_answer(error: ClientError) -> DeliveryFailure:
    code, cause = code_of(error), str(error)
    status = _http_status(error)
    if code in _REFUSED_AS_TOO_LARGE:
        return PermanentFailure(MESSAGE_TOO_BIG, "the message is larger than the object store takes", cause=cause)
    if code == "KeyTooLongError":
        return PermanentFailure(MESSAGE_REFUSED, "an address of the message is too long for the archive", cause=cause)
    if code in _FOR_THE_OPERATOR or status in (401, 403):
        return TransientFailure(MISCONFIGURED, "the object store refuses this gateway, try again later", cause=cause)
    if code in _FULL or status == 507:
        return TransientFailure(STORAGE_FULL, "the object store is full, try again later", cause=cause)
    if status >= 500 or code in _PASSING or status == 429:
        return TransientFailure(DESTINATION_UNRESPONSIVE, "the object store is busy, try again later", cause=cause)
    return TransientFailure(LOCAL_ERROR, "the object store did not take the message, try again later", cause=cause)


def _from_sdk(error: BotoCoreError) -> TransientFailure:
    if isinstance(error, _UNREACHABLE):
        status, text = DESTINATION_UNREACHABLE, "the object store cannot be reached, try again later"
    elif isinstance(error, _UNRESPONSIVE):
        status, text = DESTINATION_UNRESPONSIVE, "the object store does not answer, try again later"
    elif isinstance(error, (*_NO_CREDENTIALS, *_WRONG_SETTINGS)):
        status, text = MISCONFIGURED, "the object store cannot be used, try again later"
    else:
        status, text = LOCAL_ERROR, "the message could not be stored, try again later"
    # Some of the SDK's errors have several lines.
    return TransientFailure(status, text, cause=" ".join(str(error).split()))
