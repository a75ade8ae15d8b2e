"""Any accepted transaction, through any connector that stores it, and read again: the same transaction.

The mappings are the connectors' own; a bucket in memory stands in for the object store, and the topic is left out. The
same for sample mails on the real servers is beside each connector.
"""

import asyncio
import hashlib
import itertools
from concurrent.futures import CancelledError
from contextlib import aclosing
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connectors.directory import CONNECTOR as DIRECTORY
from connectors.directory import DirectorySettings
from connectors.kafka import KafkaSettings
from connectors.kafka.record import RecordLayout
from connectors.kafka.record_reading import read_record
from connectors.s3 import S3Settings
from connectors.s3.batch_layout import BatchLayout
from connectors.s3.body import Body
from connectors.s3.bucket import Listed, Stored
from connectors.s3.message_layout import MessageLayout
from connectors.s3.reading import S3Source
from connectors.s3.threads import Threads
from gateway.cli.stored_mails import Choice, Preparation, stored
from gateway.connector import Extent, Found
from gateway.envelope import (
    Client,
    Content,
    ContentReference,
    Envelope,
    Mail,
    Message,
    Proxy,
    Tls,
    Transaction,
    new_id,
    read_headers,
    read_metadata,
)
from gateway.envelope.flatten import preserve
from gateway.testing import check_connector
from tests.connectors.reading import nothing_elsewhere, same
from tests.envelope.strategies import containers, octets, paths, transaction_envelopes

_word = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=8)
_line = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=12)
_peer = {"address": st.sampled_from(["192.0.2.1", "2001:db8::1", "unix"]), "port": st.integers(0, 65535)}


@st.composite
def accepted(draw):
    """A mail as the ingress makes it, in the form in which delivery hands it on."""
    content = draw(octets | st.binary(max_size=300))
    headers, headers_complete = read_headers(content)
    envelope = Envelope(
        id=new_id(),
        received_at=draw(st.datetimes(min_value=datetime(2000, 1, 1), timezones=st.just(UTC))).strftime(  # noqa: DTZ001  # Hypothesis wants it naive
            "%Y-%m-%dT%H:%M:%S.%fZ"
        ),
        gateway="mx.example.org",
        transaction=Transaction(
            protocol=draw(st.sampled_from(["SMTP", "ESMTPSA", "LMTP"])),
            listener=draw(_word),
            session=draw(_word),
            client=draw(st.builds(Client, **_peer)),
            hello=draw(_line),
            proxy=draw(st.none() | st.builds(Proxy, **_peer)),
            tls=draw(st.none() | st.builds(Tls, version=_word, cipher=_word)),
            authenticated_as=draw(_line),
            extensions=tuple(draw(st.lists(_word, max_size=3))),
            body=draw(st.sampled_from(["7BIT", "8BITMIME", "BINARYMIME"])),
        ),
        envelope=draw(transaction_envelopes(paths)),
        metadata=read_metadata(draw(containers), trusted=draw(st.booleans())),
        message=Message(
            size=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
            headers=headers,
            headers_complete=headers_complete,
            chunks=tuple(draw(st.lists(st.integers(0, 300), max_size=3))),
        ),
    )
    return preserve(Mail(envelope, Content(content)))


class BucketInMemory:
    """Objects by their keys, with what the layouts and the reading side ask of a bucket."""

    name = "mail"

    def __init__(self):
        self.objects = {}

    def put(self, item, permit):
        found = Body(item.content, 0, item.content.size, permit).read()
        if hashlib.sha256(found).hexdigest() != item.sha256:
            raise CancelledError
        assert self.objects.setdefault(item.key, found) == found
        return Stored(key=item.key, etag=item.sha256, version="")

    def list(self, prefix, permit):
        for key, found in sorted(self.objects.items()):
            if key.startswith(prefix):
                yield Listed(key=key, size=len(found), stored_at=datetime.now(UTC))

    def read(self, key, permit):
        return self.objects.get(key)

    def fetch(self, key, permit, *, version=""):
        return Content(self.objects[key])

    def close(self):
        pass


class S3InMemory:
    """The s3 connector's layouts over such a bucket."""

    def __init__(self, layout, **keys):
        self.settings = S3Settings(name="archive", bucket="mail", layout=layout, batch_max_age_seconds=0.001, **keys)
        self.bucket = BucketInMemory()
        self.threads = Threads(4, "memory")
        self.layout = (MessageLayout if layout == "message" else BatchLayout)(self.settings, self.bucket, self.threads)

    async def open(self):
        pass

    async def emit(self, mail):
        return await self.layout.emit(mail)

    async def close(self):
        await self.layout.close()
        await self.threads.close()

    def source(self):
        source = S3Source(self.settings)
        source._opened = self.bucket
        return source


async def replayed(found):
    """The mails that a replay would send, checked as it checks them."""
    async with aclosing(stored(found, Choice(), Preparation())) as reemissions:
        found = [reemission async for reemission in reemissions]
    assert [reemission.problem for reemission in found] == [""] * len(found)
    return [preserve(reemission.mail) for reemission in found]


def assert_same(found, mail):
    (again,) = found
    assert same(again, mail)
    assert again.envelope == mail.envelope
    again.content.close()


@pytest.mark.parametrize("layout", ["message", "batch"])
async def test_the_bucket_in_memory_keeps_the_contract(layout):
    async def read_back(receipt):
        source = connectors[-1].source()
        async with aclosing(source.mails(Extent(), nothing_elsewhere)) as found:
            mails = [await each.read(lambda envelope: envelope.id == receipt.id) async for each in found]
        await source.close()
        return next(mail for mail in mails if mail is not None)

    connectors = []

    def make():
        connectors.append(S3InMemory(layout))
        return connectors[-1]

    await check_connector(make, read_back, max_in_flight=8)


@pytest.mark.parametrize("layout", ["message", "batch"])
@settings(max_examples=40, deadline=None)
@given(mail=accepted(), prefix=st.sampled_from(["", "mail/", "{recipient_domain}/{year}-"]))
def test_through_a_bucket(layout, mail, prefix):
    async def there_and_back():
        connector = S3InMemory(layout, prefix=prefix)
        await connector.emit(mail)
        await connector.close()
        source = connector.source()
        found = await replayed(source.mails(Extent(), nothing_elsewhere))
        await source.close()
        return found

    assert_same(asyncio.run(there_and_back()), mail)


_FOLDERS = itertools.count()


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(mail=accepted())
def test_through_a_directory(tmp_path, mail):
    async def there_and_back():
        chosen = DirectorySettings(name="archive", path=tmp_path / str(next(_FOLDERS)))
        connector = DIRECTORY.build(chosen, {})
        await connector.open()
        await connector.emit(mail)
        await connector.close()
        return await replayed(DIRECTORY.source(chosen).mails(Extent(), nothing_elsewhere))

    assert_same(asyncio.run(there_and_back()), mail)


@pytest.mark.parametrize("is_elsewhere", [False, True], ids=["inline", "claim check"])
@pytest.mark.parametrize("form", [{}, {"content_mode": "structured"}, {"format": "avro"}, {"format": "raw"}], ids=str)
@settings(max_examples=60, deadline=None)
@given(mail=accepted())
def test_through_a_topic(form, is_elsewhere, mail):
    layout = RecordLayout(KafkaSettings(name="events", bootstrap_servers=("127.0.0.1:9092",), topic="mail", **form))
    reference = ContentReference(connector="store", type="memory", location={"key": mail.envelope.id})
    record = layout.record(mail.by_reference(reference) if is_elsewhere else mail.inline())

    async def fetch(asked):
        assert is_elsewhere
        assert asked == reference
        return Content(mail.content.read())

    async def found():
        yield Found(
            place="mail 0 0", read=lambda is_wanted: read_record(record.headers, record.value, fetch, is_wanted)
        )

    assert_same(asyncio.run(replayed(found())), mail)
