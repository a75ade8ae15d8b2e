"""The envelope model, its metadata containers, and the content that belongs to it."""

from gateway.envelope.content import BLOCK, Content, ContentReader
from gateway.envelope.mail import Mail
from gateway.envelope.model import (
    SCHEMA,
    Action,
    Client,
    Container,
    ContentReference,
    Disposition,
    Envelope,
    Flattened,
    Header,
    Message,
    Metadata,
    Origin,
    Parameter,
    Proxy,
    Recipient,
    Sender,
    Tls,
    Transaction,
    TransactionEnvelope,
)
from gateway.envelope.ulid import new_id

__all__ = [
    "BLOCK",
    "SCHEMA",
    "Action",
    "Client",
    "Container",
    "Content",
    "ContentReader",
    "ContentReference",
    "Disposition",
    "Envelope",
    "Flattened",
    "Header",
    "Mail",
    "Message",
    "Metadata",
    "Origin",
    "Parameter",
    "Proxy",
    "Recipient",
    "Sender",
    "Tls",
    "Transaction",
    "TransactionEnvelope",
    "new_id",
]
