import io
import json
import random
from contextlib import suppress
from datetime import UTC, datetime

import fastavro
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from gateway.codec import CodecError, avro_v1
from tests.codec.examples import VALID, example
from tests.envelope.strategies import envelopes

CODECS = ["zstandard", "deflate"]


def a_file(envelopes, codec="zstandard"):
    file = io.BytesIO()
    avro_v1.write_file(file, envelopes, codec=codec)
    return file.getvalue()


def read(octets):
    return list(avro_v1.read_file(io.BytesIO(octets)))


EXAMPLES = [example(path.stem) for path in VALID]
PLAIN = example("plain")


@given(envelopes())
def test_decoding_undoes_encoding(envelope):
    assert avro_v1.decode(avro_v1.encode(envelope)) == envelope


@pytest.mark.parametrize("codec", CODECS)
@settings(max_examples=20)
@given(st.lists(envelopes(), max_size=4))
def test_reading_undoes_writing(codec, envelopes):
    assert read(a_file(envelopes, codec)) == envelopes


@pytest.mark.parametrize("codec", CODECS)
def test_every_sample_mail_comes_back_with_its_content(codec, sample_envelopes):
    assert read(a_file(iter(sample_envelopes), codec)) == sample_envelopes


def test_a_file_says_how_it_is_to_be_read():
    """Any Avro reader can read it: the schema is inside, and the received time is a time."""
    reader = fastavro.reader(io.BytesIO(a_file(EXAMPLES)))
    assert reader.codec == "zstandard"
    record = next(reader)
    assert record["received_at"] == datetime.fromisoformat(EXAMPLES[0].received_at).astimezone(UTC)
    assert record["message"]["content"] == EXAMPLES[0].message.content


def test_mails_that_resemble_each_other_compress_well():
    many = [PLAIN] * 200
    assert len(a_file(many)) < len(avro_v1.encode(PLAIN)) * 20


def test_files_of_later_writers_are_read():
    """Version 1 may gain optional fields; a file brings its writer's schema along."""
    later = json.loads(json.dumps(avro_v1.SCHEMA))
    later["fields"].append({"name": "later", "type": ["null", "string"], "default": None})
    records = [{**record, "later": "x"} for record in fastavro.reader(io.BytesIO(a_file(EXAMPLES)))]
    file = io.BytesIO()
    fastavro.writer(file, later, records)
    assert read(file.getvalue()) == EXAMPLES


def test_files_of_earlier_writers_are_read():
    earlier = json.loads(json.dumps(avro_v1.SCHEMA))
    (metadata,) = (field["type"] for field in earlier["fields"] if field["name"] == "metadata")
    metadata["fields"] = [field for field in metadata["fields"] if field["name"] != "trace_complete"]
    file = io.BytesIO()
    fastavro.writer(file, earlier, fastavro.reader(io.BytesIO(a_file(EXAMPLES))))
    assert read(file.getvalue()) == EXAMPLES


def test_framing_is_a_zero_octet_and_the_schema_id():
    assert avro_v1.frame(1042, b"datum") == b"\x00\x00\x00\x04\x12datum"
    assert avro_v1.unframe(b"\x00\x00\x00\x04\x12datum") == (1042, b"datum")


@pytest.mark.parametrize("octets", [b"", b"\0\0\0\0", b"\x01\0\0\0\x01datum", b"{}"])
def test_what_is_not_framed_is_an_error(octets):
    with pytest.raises(CodecError, match="Confluent wire format"):
        avro_v1.unframe(octets)


def test_a_date_that_does_not_exist_is_an_error():
    with pytest.raises(CodecError):
        avro_v1.encode(structs.replace(PLAIN, received_at="2026-02-30T00:00:00.000000Z"))


def test_a_number_that_avro_has_no_room_for_is_an_error():
    message = structs.replace(PLAIN.message, size=2**63)
    with pytest.raises(CodecError):
        avro_v1.encode(structs.replace(PLAIN, message=message))


def test_a_datum_ends_where_the_envelope_ends():
    datum = avro_v1.encode(PLAIN)
    with pytest.raises(CodecError, match="octets follow the envelope"):
        avro_v1.decode(datum + b"\0")
    for size in range(len(datum)):
        with pytest.raises(CodecError, match="this is no envelope in Avro"):
            avro_v1.decode(datum[:size])


def damaged(octets, seed):
    """The octets with a few of them overwritten, among others by lengths that are huge or below zero."""
    dice = random.Random(seed)
    octets = bytearray(octets)
    for _ in range(dice.randint(1, 4)):
        at = dice.randrange(len(octets))
        octets[at : at + dice.randint(0, 3)] = dice.choice(
            [
                bytes([dice.randrange(256)]),
                b"\xff" * 9 + b"\x01",
                b"\xfe" + b"\xff" * 8 + b"\x01",
                b"\xff\xff\xff\xff\x0f",
            ]
        )
    return bytes(octets)


def test_a_damaged_datum_is_an_envelope_or_one_named_error():
    datum = avro_v1.encode(example("containers-of-every-kind"))
    for seed in range(3000):
        with suppress(CodecError):
            avro_v1.decode(damaged(datum, seed))


@pytest.mark.parametrize("codec", CODECS)
def test_a_damaged_file_is_one_named_error(codec):
    octets = a_file(EXAMPLES, codec)
    for seed in range(1000):
        with suppress(CodecError):
            read(damaged(octets, seed))


def test_a_file_that_was_cut_short_is_an_error():
    octets = a_file(EXAMPLES)
    with pytest.raises(CodecError):
        read(octets[:-1])
    with pytest.raises(CodecError):
        read(octets[: len(octets) // 2])


def test_a_length_that_is_a_lie_takes_no_memory(tmp_path):
    octets = a_file([PLAIN])
    header = octets[: octets.index(octets[-16:]) + 16]
    # One datum, in so many octets that no memory holds them.
    path = tmp_path / "lie.avro"
    path.write_bytes(header + b"\x02" + b"\xfe" + b"\xff" * 8 + b"\x00" + octets[-16:])
    with path.open("rb") as file, pytest.raises(CodecError):
        list(avro_v1.read_file(file))


@pytest.mark.parametrize("codec", ["bzip2", "xz", "snappy"])
def test_a_file_in_a_compression_that_is_not_written_here_is_refused(codec):
    octets = a_file([PLAIN], "deflate")
    # Before the codec's name stands its length, twice.
    old, new = (bytes([2 * len(name)]) + name for name in (b"deflate", codec.encode()))
    with pytest.raises(CodecError, match="and this gateway writes no such file"):
        read(octets.replace(old, new))
