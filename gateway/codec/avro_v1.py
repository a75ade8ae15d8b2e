"""The envelope as Avro: one datum, a datum framed for a schema registry, and object container files of many.

A bare datum is only readable with the schema that wrote it, and `decode` assumes the present one. A file brings its
writer's schema along, so `read_file` also reads the files of other versions 1, which have other optional fields.
"""

import io
import sys
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import IO, Any, Literal

import fastavro
import msgspec
from fastavro.read import SchemaResolutionError
from fastavro.schema import SchemaParseException

from gateway.codec.avro_schema import SCHEMA
from gateway.codec.error import CodecError
from gateway.envelope import Envelope

if sys.version_info >= (3, 14):  # pragma: no cover
    from compression.zstd import ZstdError
else:
    from backports.zstd import ZstdError

__all__ = ["SCHEMA", "decode", "encode", "frame", "read_file", "unframe", "write_file"]

_SCHEMA = fastavro.parse_schema(SCHEMA)
# How many octets of datums are compressed together: enough for the compression to find what mails have in common.
_BLOCK = 256 * 1024
# "null" is what other programs may make of a file when they copy it.
_CODECS = {"zstandard", "deflate", "null"}
# The Confluent wire format: a zero octet, then the schema's id in the registry in network byte order.
_MAGIC = b"\0"
_FRAME = 5


def encode(envelope: Envelope) -> bytes:
    """The bare datum. Raises CodecError for a value that Avro cannot hold: a date that is not in the calendar."""
    datum = io.BytesIO()
    with _one_error():
        fastavro.schemaless_writer(datum, _SCHEMA, _to_record(envelope))
    return datum.getvalue()


def decode(datum: bytes) -> Envelope:
    """The inverse of `encode`. Raises CodecError for anything else."""
    octets = io.BytesIO(datum)
    with _one_error():
        envelope = _to_envelope(fastavro.schemaless_reader(octets, _SCHEMA, None))
    if octets.tell() != len(datum):
        raise CodecError("octets follow the envelope")
    return envelope


def frame(schema_id: int, datum: bytes) -> bytes:
    """The datum as consumers of a schema registry expect it (the Confluent wire format)."""
    return _MAGIC + schema_id.to_bytes(_FRAME - 1) + datum


def unframe(octets: bytes) -> tuple[int, bytes]:
    """The schema's id and the datum. Raises CodecError for octets that are not framed."""
    if len(octets) < _FRAME or not octets.startswith(_MAGIC):
        raise CodecError("the datum does not begin with a schema id in the Confluent wire format")
    return int.from_bytes(octets[1:_FRAME]), octets[_FRAME:]


def write_file(
    file: IO[bytes], envelopes: Iterable[Envelope], *, codec: Literal["zstandard", "deflate"] = "zstandard"
) -> None:
    """Write an object container file (Avro 1.11, Object Container Files) into an empty file that stays open.

    One envelope and one block are in memory at a time. Raises CodecError as `encode` does.
    """
    with _one_error():
        fastavro.writer(file, _SCHEMA, map(_to_record, envelopes), codec=codec, sync_interval=_BLOCK)


def read_file(file: IO[bytes]) -> Iterator[Envelope]:
    """The envelopes of an object container file in order, one block in memory at a time.

    Raises CodecError where the file is damaged, cut short or of something else; a block is whole or not read at all.
    """
    with _one_error():
        records = fastavro.reader(_Present(file), _SCHEMA)  # type: ignore[arg-type]  # all it does is `read`
        if records.codec not in _CODECS:
            raise CodecError(f"the file is compressed with {records.codec!r}, and this gateway writes no such file")
        yield from map(_to_envelope, records)


class _Present:
    """A file of which no more is in memory at once than is there, however many octets a damaged length asks for."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def read(self, size: int) -> bytes:
        if size <= _BLOCK:
            return self._file.read(size)
        parts = []
        while size and (part := self._file.read(min(size, _BLOCK))):
            parts.append(part)
            size -= len(part)
        return b"".join(parts)


def _to_record(envelope: Envelope) -> dict[str, Any]:
    record: dict[str, Any] = msgspec.to_builtins(envelope, builtin_types=(bytes,))
    record["received_at"] = datetime.fromisoformat(envelope.received_at)
    return record


def _to_envelope(record: Any) -> Envelope:
    time = record["received_at"].replace(tzinfo=None).isoformat(timespec="microseconds")
    return msgspec.convert({**record, "received_at": f"{time}Z"}, Envelope, builtin_types=(bytes,))


@contextmanager
def _one_error() -> Iterator[None]:
    try:
        yield
    except (
        ArithmeticError,
        EOFError,
        LookupError,
        TypeError,
        ValueError,
        SchemaParseException,
        SchemaResolutionError,
        ZstdError,
        zlib.error,
    ) as error:
        raise CodecError(f"this is no envelope in Avro: {str(error) or type(error).__name__}") from error
