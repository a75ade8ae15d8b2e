"""A bucket of a real S3 server, connectors to it, and a look into it that does not go through the connector."""

import asyncio
import hashlib
import io
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from msgspec import structs

from connectors.s3 import CONNECTOR, S3Settings
from gateway.codec import avro_v1, bmtd, json_v1
from gateway.connector import Mail, Receipt
from gateway.envelope import Content, Envelope, new_id
from gateway.testing import sample_mails

_PLAIN = sample_mails()["plain"]


class Shelf:
    """A bucket as a stranger sees it."""

    def __init__(self, server: Any, name: str) -> None:
        self.server = server
        self.name = name
        self.client = server.client()
        self._records: dict[str, list[Envelope]] = {}

    def settings(self, **keys: Any) -> S3Settings:
        given = {
            "name": "archive",
            "bucket": self.name,
            "endpoint_url": self.server.endpoint_url,
            "region": self.server.region,
            "path_style": True,
            "access_key_id": self.server.access_key,
            "secret_access_key": self.server.secret_key,
        }
        return S3Settings(**{**given, **keys})

    def keys(self, prefix: str = "") -> list[str]:
        return [
            item["Key"] for item in self.client.list_objects_v2(Bucket=self.name, Prefix=prefix).get("Contents", ())
        ]

    def octets(self, key: str) -> bytes:
        return self.client.get_object(Bucket=self.name, Key=key)["Body"].read()

    def head(self, key: str) -> dict[str, Any]:
        return self.client.head_object(Bucket=self.name, Key=key, ChecksumMode="ENABLED")

    def uploads(self) -> list[str]:
        return [upload["Key"] for upload in self.client.list_multipart_uploads(Bucket=self.name).get("Uploads", ())]

    def records(self, key: str) -> list[Envelope]:
        if key not in self._records:
            self._records[key] = list(avro_v1.read_file(io.BytesIO(self.octets(key))))
        return self._records[key]

    async def read_back(self, receipt: Receipt) -> Mail:
        """The mail to which a receipt of either layout leads."""
        return await asyncio.to_thread(self._read_back, receipt)

    def _read_back(self, receipt: Receipt) -> Mail:
        key = receipt.location["key"]
        if "index" in receipt.location:
            envelope = self.records(key)[receipt.location["index"]]
            if envelope.message.reference:
                return Mail(envelope, Content(self.octets(envelope.message.reference.location["key"])))
            return Mail(envelope, Content(envelope.message.content))
        stem = key.removesuffix(".eml")
        envelope = json_v1.decode(self.octets(f"{stem}.json"))
        if envelope.metadata.containers:
            assert bmtd.decode(self.octets(f"{stem}.bmtd")) == envelope.metadata.containers
        return Mail(envelope, Content(self.octets(key)))


@pytest.fixture
def make_shelf(s3_server) -> Callable[..., Shelf]:
    return lambda **options: Shelf(s3_server, s3_server.create_bucket(**options))


@pytest.fixture
def shelf(make_shelf) -> Shelf:
    return make_shelf()


@pytest.fixture
async def open_connector() -> AsyncIterator[Callable[..., Any]]:
    """Make and open a connector with the settings given; it is closed after the test."""
    opened = []

    async def open_with(settings: S3Settings) -> Any:
        connector = CONNECTOR.build(settings, {})
        opened.append(connector)
        await connector.open()
        return connector

    yield open_with
    for connector in opened:
        await connector.close()


@pytest.fixture
def make_mail() -> Callable[..., Mail]:
    """A mail of these octets, or of this content, under an id of its own."""

    def make(content: bytes | Content = b"Subject: hello\r\n\r\nHello.\r\n", **changes: Any) -> Mail:
        if isinstance(content, bytes):
            content = Content(content)
        digest = hashlib.sha256()
        for block in content.blocks():
            digest.update(block)
        message = structs.replace(_PLAIN.envelope.message, size=content.size, sha256=digest.hexdigest())
        return Mail(structs.replace(_PLAIN.envelope, id=new_id(), message=message, **changes), content)

    return make
