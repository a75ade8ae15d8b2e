"""A bucket of a real S3 server, connectors to it, and a look into it that does not go through the connector."""

import asyncio
import hashlib
import io
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from botocore.awsrequest import AWSResponse
from msgspec import structs
from urllib3 import HTTPResponse

from connectors.s3 import CONNECTOR, S3Settings
from gateway.codec import avro_v1, bmtd, json_v1
from gateway.connector import Mail, Receipt
from gateway.envelope import Content, Envelope, Metadata
from gateway.testing import sample_mails
from gateway.testing.samples import plain_mail


@cache
def _client(server: Any) -> Any:
    # Making one takes longer than most tests.
    return server.client()


class Shelf:
    """A bucket as a stranger sees it."""

    def __init__(self, server: Any, name: str) -> None:
        self.server = server
        self.name = name
        self.client = _client(server)
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
        stem = receipt.location.get("envelope", key).removesuffix(".json").removesuffix(".eml")
        envelope = json_v1.decode(self.octets(f"{stem}.json"))
        if envelope.metadata.containers:
            assert bmtd.decode(self.octets(f"{stem}.bmtd")) == envelope.metadata.containers
        return Mail(envelope, Content(self.octets(key)))


@pytest.fixture
def shelf_on() -> Callable[..., Shelf]:
    return lambda server, **options: Shelf(server, server.create_bucket(**options))


@pytest.fixture
def make_shelf(s3_server, shelf_on) -> Callable[..., Shelf]:
    return lambda **options: shelf_on(s3_server, **options)


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


@pytest.fixture(params=["the shorter way", "the SDK's way"])
def either_way(request, monkeypatch) -> None:
    """Have small objects go out as they do, and then again by the SDK, as where the shorter way does not know how."""
    if request.param == "the SDK's way":
        monkeypatch.setattr("connectors.s3.small_objects.SmallObjects.put", lambda *_: None)


@dataclass(frozen=True)
class Request:
    """A request as it leaves for the store."""

    operation: str
    url: str
    headers: dict[str, str]

    @property
    def key(self) -> str:
        return urlsplit(self.url).path.split("/", 2)[2]


def _operation(request: Any) -> str:
    query = parse_qs(urlsplit(request.url).query, keep_blank_values=True)
    match request.method:
        case "PUT":
            return "UploadPart" if "partNumber" in query else "PutObject"
        case "POST":
            return "CreateMultipartUpload" if "uploads" in query else "CompleteMultipartUpload"
        case "DELETE":
            return "AbortMultipartUpload" if "uploadId" in query else "DeleteObject"
        case "GET" if "list-type" in query:
            return "ListObjectsV2"
        case "GET":
            return "ListMultipartUploads" if "uploads" in query else "GetObject"
        case _:
            return "HeadObject"


class _Wire:
    """All that a connector sends, whichever way: each listener is called before, and one may answer itself."""

    def __init__(self, connector: Any) -> None:
        self.listeners: list[Callable[[str, Any], AWSResponse | None]] = []
        session = connector._bucket._store._client._endpoint.http_session
        self._send, session.send = session.send, self.send

    def send(self, request: Any) -> AWSResponse:
        operation = _operation(request)
        answers = [listener(operation, request) for listener in self.listeners]
        return next(filter(None, answers), None) or self._send(request)


@pytest.fixture
def wire_of() -> Callable[[Any], _Wire]:
    return cache(_Wire)


@pytest.fixture
def requests_of(wire_of) -> Callable[[Any], list[Request]]:
    """The list to which every request of a connector is added from now on."""

    def watch(connector: Any) -> list[Request]:
        seen = []

        def note(operation: str, request: Any) -> None:
            headers = {
                name.lower(): str(value, "latin-1") if isinstance(value, bytes) else value
                for name, value in request.headers.items()
            }
            seen.append(Request(operation, request.url, headers))

        wire_of(connector).listeners.append(note)
        return seen

    return watch


@pytest.fixture
def interfere(wire_of) -> Callable[..., None]:
    """Let a function answer a connector's requests of one operation: by an HTTP status and an error code, or not."""

    def register(connector: Any, operation: str, answer: Callable[[Any], tuple[int, str] | None]) -> None:
        def handle(asked: str, request: Any) -> AWSResponse | None:
            given = answer(request) if asked == operation else None
            if given is None:
                return None
            status, code = given
            raw = HTTPResponse(io.BytesIO(f"<Error><Code>{code}</Code></Error>".encode()), preload_content=False)
            return AWSResponse(request.url, status, {}, raw)

        wire_of(connector).listeners.append(handle)

    return register


class HookedContent(Content):
    """Content that calls a function before each read, in the thread that reads."""

    def __init__(self, octets: bytes, before_read: Callable[[int], None]) -> None:
        super().__init__(octets)
        self.before_read = before_read

    def read_at(self, position: int, size: int) -> bytes:
        self.before_read(position)
        return super().read_at(position, size)


@pytest.fixture
def make_hooked() -> Callable[..., HookedContent]:
    return HookedContent


@pytest.fixture
def samples() -> Iterator[dict[str, Mail]]:
    mails = sample_mails()
    yield mails
    for mail in mails.values():
        mail.content.close()


@pytest.fixture
def make_mail() -> Callable[..., Mail]:
    """A mail of these octets, or of this content, under an id of its own."""

    def make(content: bytes | Content = b"Subject: hello\r\n\r\nHello.\r\n", **changes: Any) -> Mail:
        if isinstance(content, bytes):
            content = Content(content)
        digest = hashlib.sha256()
        for block in content.blocks():
            digest.update(block)
        envelope = plain_mail().envelope
        message = structs.replace(envelope.message, size=content.size, sha256=digest.hexdigest())
        return Mail(structs.replace(envelope, message=message, **{"metadata": Metadata(), **changes}), content)

    return make
