"""The envelope as JSON: `schemas/envelope.v1.schema.json`, whose structure is that of the model.

Every field is written, also where it has its default. Octets are base64 (RFC 4648 §4). Version 1 may gain optional
fields: they are ignored here when read, so an older reader takes a newer writer's envelopes.
"""

import msgspec

from gateway.codec.error import CodecError
from gateway.envelope import Envelope

__all__ = ["decode", "encode"]

_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(Envelope)


def encode(envelope: Envelope) -> bytes:
    """One line of UTF-8 without an end of line."""
    return _ENCODER.encode(envelope)


def decode(octets: bytes) -> Envelope:
    """The inverse of `encode`. Raises CodecError for what is no JSON or no envelope, saying where."""
    try:
        return _DECODER.decode(octets)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CodecError(f"this is no envelope in JSON: {error}") from error
