"""Generated values for property tests: every oddity that mail has shown, in every combination."""

from hypothesis import strategies as st

from gateway.address import Address, parse_path
from gateway.envelope import (
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
    new_id,
    read_headers,
    read_metadata,
    with_own_trace,
)

# Pieces of header text: put together at random they give folding, bare line ends, lines without colon, empty lines,
# obsolete white space, octets that are not UTF-8, and fields that flattening looks for.
_PIECES = [
    b"\r\n",
    b"\r",
    b"\n",
    b":",
    b" ",
    b"\t",
    b"\0",
    b"\xff",
    b"Subject",
    b"Return-Path: <a@b>",
    b"RETURN-PATH :x",
    b"Received:",
    "é".encode(),
]

PATHS = [
    "",
    "Postmaster",
    "alice@example.net",
    "@relay.example,@other.example:alice@example.net",
    '"a> \\" b@c"@example.net',
    '""@example.net',
    "grüße@bücher.example",
    "alice@[IPv6:2001:db8::1]",
]

octets = st.lists(st.sampled_from(_PIECES), max_size=40).map(b"".join)
# Trace fields as they pass `check_trace_fields`; the last CRLF may be missing.
trace_fields = st.lists(
    st.sampled_from(
        [
            b"Received: from a by b;\r\n\tFri, 1 Jan 2027 00:00:00 +0000\r\n",
            b"Return-Path: <x@y>\r\n",
            b"return-path:\r\n folded\r\n",
            b"Received-SPF: pass\r\n",
            b"X-\xff: \xfe\r\n".replace(b"X-\xff", b"X-Odd"),
            b"X-Return-Path: <kept@y>\r\n",
        ]
    ),
    max_size=5,
).flatmap(lambda fields: st.sampled_from([b"".join(fields), b"".join(fields)[:-2]]))

received_containers = st.lists(
    st.one_of(
        st.tuples(st.just(0), trace_fields),
        st.tuples(st.just(1), st.sampled_from([b"", b"$Forwarded \\Flagged", b"\xff ( $Ok"])),
        st.tuples(st.integers(2, 65535), st.binary(max_size=30)),
        st.tuples(st.integers(2, 65535), st.just(bytes(range(256)))),
    ),
    max_size=6,
)
containers = st.builds(with_own_trace, trace_fields, received_containers)

_text = st.text(max_size=12)
_line = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=12)
_word = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=8)
_count = st.integers(0, 2**63 - 1)
_long = st.integers(-(2**63), 2**63 - 1)
_port = st.integers(0, 65535)
_sha256 = st.binary(min_size=32, max_size=32).map(bytes.hex)
_time = st.datetimes().map(lambda time: f"{time.isoformat(timespec='microseconds')}Z")

paths = st.sampled_from(PATHS).map(lambda path: parse_path(path.encode(), utf8=True))
_addresses = paths | st.builds(Address, raw=_line, local_part=_text, domain=_text)
parameters = st.lists(st.builds(Parameter, keyword=_word, value=st.just("") | _word), max_size=4).map(tuple)
_headers = octets.map(lambda head: read_headers(head)[0]) | st.lists(
    st.builds(Header, name=_word, value=_text, raw=st.binary(max_size=8)), max_size=3
).map(tuple)
_dispositions = st.builds(
    Disposition, index=_count, type=st.integers(0, 65535), size=_count, action=st.sampled_from(Action)
)
_any_containers = st.lists(
    st.builds(
        Container,
        index=_count,
        type=st.integers(0, 65535),
        origin=st.sampled_from(Origin),
        data=st.binary(max_size=40),
    ),
    max_size=3,
).map(tuple)
_metadata = containers.map(lambda these: read_metadata(these, trusted=True)) | st.builds(
    Metadata,
    containers=_any_containers,
    trace=_headers,
    trace_complete=st.booleans(),
    keywords=st.lists(_text, max_size=3).map(tuple),
    disposition=st.lists(_dispositions, max_size=3).map(tuple),
)


def transaction_envelopes(addresses=_addresses):
    return st.builds(
        TransactionEnvelope,
        mail_from=st.builds(Sender, address=addresses, parameters=parameters),
        recipients=st.lists(st.builds(Recipient, address=addresses, parameters=parameters), min_size=1, max_size=4).map(
            tuple
        ),
    )


_transactions = st.builds(
    Transaction,
    protocol=_text,
    listener=_text,
    session=_text,
    client=st.builds(Client, address=_text, port=_port),
    hello=_text,
    proxy=st.none() | st.builds(Proxy, address=_text, port=_port),
    tls=st.none() | st.builds(Tls, version=_text, cipher=_text),
    authenticated_as=_text,
    extensions=st.lists(_word, max_size=3).map(tuple),
    body=_text,
)
_messages = st.builds(
    Message,
    size=_count,
    sha256=_sha256,
    headers=_headers,
    headers_complete=st.booleans(),
    chunks=st.lists(_count, max_size=3).map(tuple),
    content=st.none() | st.binary(max_size=60),
    reference=st.none()
    | st.builds(
        ContentReference,
        connector=_text,
        type=_text,
        location=st.dictionaries(_text, _text | _long, max_size=3),
    ),
    flattened=st.none() | st.builds(Flattened, size=_count, sha256=_sha256),
)


def envelopes(transaction_envelope=None, metadata=_metadata):
    return st.builds(
        Envelope,
        id=st.builds(new_id),
        received_at=_time,
        gateway=_text,
        transaction=_transactions,
        envelope=transaction_envelopes() if transaction_envelope is None else transaction_envelope,
        metadata=metadata,
        message=_messages,
    )
