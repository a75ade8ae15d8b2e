"""What an error of aiokafka means for the mail, and what the operator reads of it.

A broker that is unreachable, silent or busy, a topic that is missing and a right that was not granted are all
temporary: the mail is fine, and somebody will mend the rest. Only a mail that is too large is refused for good.
"""

import ssl

from aiokafka import errors

from gateway.connector import DeliveryFailure, PermanentFailure, TransientFailure
from gateway.status import (
    DESTINATION_UNREACHABLE,
    DESTINATION_UNRESPONSIVE,
    LOCAL_ERROR,
    MESSAGE_TOO_BIG,
    MISCONFIGURED,
    UNUSABLE,
)

__all__ = ["from_error", "misconfigured", "silent", "too_large", "unreachable", "unusable"]

_UNREACHABLE = (
    errors.BrokerNotAvailableError,
    errors.KafkaConnectionError,
    errors.KafkaUnavailableError,
    errors.LeaderNotAvailableError,
    errors.NoBrokersAvailable,
    errors.NodeNotReadyError,
    errors.NotLeaderForPartitionError,
    OSError,
)
_TOO_LARGE = (errors.MessageSizeTooLargeError, errors.RecordListTooLargeError)
_SILENT = (TimeoutError, errors.KafkaTimeoutError, errors.RequestTimedOutError)
# For each error that only the operator can mend, what to look at.
_OPERATOR_HINTS: dict[type[Exception], str] = {
    errors.ClusterAuthorizationFailedError: "the user needs the right to write (IdempotentWrite) at the cluster",
    errors.InvalidTopicError: "the brokers do not take records under this name of a topic",
    errors.SaslAuthenticationFailed: "the brokers refuse the user or the password",
    errors.TopicAuthorizationFailedError: "the user needs the rights to describe and write this topic",
    errors.UnknownTopicOrPartitionError: "the topic does not exist on the brokers; create it, or correct `topic`",
    errors.UnsupportedSaslMechanismError: "the brokers do not offer this sasl_mechanism",
    errors.IllegalSaslStateError: "the brokers do not expect a login here; see whether this listener has SASL",
    errors.UnsupportedCodecError: "the brokers do not know this compression",
    errors.IncompatibleBrokerVersion: "the brokers are older than this client can speak to",
    errors.PolicyViolationError: "a policy of the brokers forbids this",
    ssl.SSLCertVerificationError: "the broker's certificate is not trusted; see tls_ca_file and the name in it",
}


def from_error(error: Exception, where: str, *, possibly_stored: bool = False) -> DeliveryFailure:
    """The failure that `error` is; `where` says for the log what was being done, with the topic or the broker."""
    # The errors of aiokafka name themselves.
    said = str(error) if isinstance(error, errors.KafkaError) else f"{type(error).__name__} {error}".rstrip()
    cause = f"{where}: {said}"
    if isinstance(error, _TOO_LARGE):
        return too_large(f"{cause}; see max.message.bytes of the topic, max_request_bytes and claim_check")
    for kind, hint in _OPERATOR_HINTS.items():
        if isinstance(error, kind):
            return misconfigured(f"{cause}; {hint}", possibly_stored=possibly_stored)
    if isinstance(error, _SILENT):
        return silent(cause, possibly_stored=possibly_stored)
    if isinstance(error, _UNREACHABLE):
        return unreachable(cause, possibly_stored=possibly_stored)
    text = "the destination did not take the mail, try again later"
    return TransientFailure(LOCAL_ERROR, text, cause=cause, possibly_stored=possibly_stored)


def misconfigured(cause: str, *, possibly_stored: bool = False) -> TransientFailure:
    """Only the operator can mend this, and the mail may then be delivered."""
    text = "the destination is not ready, try again later"
    return TransientFailure(MISCONFIGURED, text, cause=cause, possibly_stored=possibly_stored)


def silent(cause: str, *, possibly_stored: bool = False) -> TransientFailure:
    """No answer in time."""
    text = "the destination did not answer in time, try again later"
    return TransientFailure(DESTINATION_UNRESPONSIVE, text, cause=cause, possibly_stored=possibly_stored)


def unreachable(cause: str, *, possibly_stored: bool = False) -> TransientFailure:
    """Nobody to speak to."""
    text = "the destination cannot be reached, try again later"
    return TransientFailure(DESTINATION_UNREACHABLE, text, cause=cause, possibly_stored=possibly_stored)


def too_large(cause: str) -> PermanentFailure:
    """The mail does not fit into a record, and there is nowhere else to put its content."""
    return PermanentFailure(MESSAGE_TOO_BIG, "the mail is too large for this destination", cause=cause)


def unusable(cause: str) -> PermanentFailure:
    """The connector cannot be opened until the operator has mended something."""
    return PermanentFailure(UNUSABLE, "the connector cannot be opened", cause=cause)
