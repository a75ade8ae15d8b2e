"""The published forms of the envelope. Each module is one form and has `encode` and, where it can be read, `decode`.

`json_v1` and `avro_v1` hold an envelope whole; `raw` spreads it over headers beside the content, and `raw_envelope`
reads it from there; `bmtd` is the file of its containers, `cloudevents` makes it an event. `avro_v1` needs the fastavro
of the extras `kafka` and `s3` and is therefore imported by its own name.
"""

from gateway.codec import bmtd, cloudevents, json_v1, raw, raw_envelope
from gateway.codec.error import CodecError

__all__ = ["CodecError", "bmtd", "cloudevents", "json_v1", "raw", "raw_envelope"]
