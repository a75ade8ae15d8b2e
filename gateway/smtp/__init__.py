"""SMTP and LMTP without I/O: octets in, events out, replies back as octets. See `server` and `client`."""

from gateway.smtp.dialect import DIALECTS, LMTP, SMTP, Dialect
from gateway.smtp.events import (
    ChunkReceived,
    ConnectionEnded,
    ContainerReceived,
    ContentReceived,
    CredentialsReceived,
    Event,
    MailReceived,
    MessageReceived,
    RecipientReceived,
    SubmissionTokenRequested,
    TlsRequested,
    TransactionAborted,
    Waiting,
)
from gateway.smtp.extension import Extension, ExtensionTable, Policy
from gateway.smtp.extensions import EXTENSIONS, extension_table
from gateway.smtp.limits import Limits
from gateway.smtp.reply import Reply, ReplySyntaxError, read_reply
from gateway.smtp.server import ServerConnection
from gateway.smtp.state import State

__all__ = [
    "DIALECTS",
    "EXTENSIONS",
    "LMTP",
    "SMTP",
    "ChunkReceived",
    "ConnectionEnded",
    "ContainerReceived",
    "ContentReceived",
    "CredentialsReceived",
    "Dialect",
    "Event",
    "Extension",
    "ExtensionTable",
    "Limits",
    "MailReceived",
    "MessageReceived",
    "Policy",
    "RecipientReceived",
    "Reply",
    "ReplySyntaxError",
    "ServerConnection",
    "State",
    "SubmissionTokenRequested",
    "TlsRequested",
    "TransactionAborted",
    "Waiting",
    "extension_table",
    "read_reply",
]
