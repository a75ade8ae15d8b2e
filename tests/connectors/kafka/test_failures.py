import ssl

import pytest
from aiokafka import errors

from connectors.kafka import failures
from gateway.connector import PermanentFailure, TransientFailure

ERRORS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, errors.KafkaError) and kind is not errors.BrokerResponseError
]
NOT_TRUSTED = ssl.SSLCertVerificationError(1, "certificate verify failed")


@pytest.mark.parametrize(
    ("error", "status", "hint"),
    [
        (errors.KafkaConnectionError("refused"), "4.4.1", "refused"),
        (errors.NodeNotReadyError(), "4.4.1", "NodeNotReadyError"),
        (ConnectionRefusedError(111, "Connection refused"), "4.4.1", "Connection refused"),
        (TimeoutError(), "4.4.2", "TimeoutError"),
        (errors.RequestTimedOutError(), "4.4.2", "RequestTimedOutError"),
        (errors.UnknownTopicOrPartitionError("mail"), "4.3.5", "create it"),
        (errors.TopicAuthorizationFailedError("mail"), "4.3.5", "the rights to describe and write"),
        (errors.SaslAuthenticationFailed("no"), "4.3.5", "refuse the user or the password"),
        (NOT_TRUSTED, "4.3.5", "tls_ca_file"),
        (errors.KafkaStorageError(), "4.3.0", "KafkaStorageError"),
    ],
    ids=repr,
)
def test_what_can_be_mended_is_transient_and_says_in_the_log_how(error, status, hint):
    failure = failures.from_error(error, "topic mail")
    assert isinstance(failure, TransientFailure)
    assert str(failure.status) == status
    assert failure.cause.startswith("topic mail: ")
    assert hint in failure.cause
    assert "mail:" not in failure.text


@pytest.mark.parametrize("possibly_stored", [False, True])
@pytest.mark.parametrize(
    "kind", [TimeoutError, errors.NodeNotReadyError, errors.KafkaStorageError, errors.PolicyViolationError]
)
def test_whether_the_mail_may_be_stored_is_told_with_every_error(kind, possibly_stored):
    failure = failures.from_error(kind(), "topic mail", possibly_stored=possibly_stored)
    assert failure.possibly_stored is possibly_stored


@pytest.mark.parametrize("error", [errors.MessageSizeTooLargeError(), errors.RecordListTooLargeError()], ids=repr)
def test_a_record_that_brokers_find_too_large_is_refused_for_good(error):
    failure = failures.from_error(error, "topic mail")
    assert isinstance(failure, PermanentFailure)
    assert str(failure.status) == "5.3.4"
    assert "claim_check" in failure.cause


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_no_error_of_aiokafka_is_permanent_but_those_of_size(kind):
    failure = failures.from_error(kind(), "topic mail")
    assert (failure.status.class_ == 5) == issubclass(
        kind, errors.MessageSizeTooLargeError | errors.RecordListTooLargeError
    )
