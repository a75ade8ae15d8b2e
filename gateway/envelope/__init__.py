"""The envelope model, its metadata containers, and the content that belongs to it."""

from gateway.envelope.authentication_results import without_own_results
from gateway.envelope.content import BLOCK, Content, ContentReader
from gateway.envelope.headers import count_received, read_headers, write_header
from gateway.envelope.mail import Mail
from gateway.envelope.metadata import KEYWORDS, TRACE, decode_container, encode_container, read_metadata, with_own_trace
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
from gateway.envelope.shared_content import shared_content_key
from gateway.envelope.ulid import new_id

__all__ = [
    "BLOCK",
    "KEYWORDS",
    "SCHEMA",
    "TRACE",
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
    "count_received",
    "decode_container",
    "encode_container",
    "new_id",
    "read_headers",
    "read_metadata",
    "shared_content_key",
    "with_own_trace",
    "without_own_results",
    "write_header",
]
