import asyncio
import hashlib
import random
import tracemalloc
from datetime import UTC, datetime, timedelta

import pytest
from msgspec import structs

from connectors.s3.multipart import sweep
from connectors.s3.store import Store
from gateway.connector import TransientFailure
from gateway.envelope import Content, Mail

MIB = 1024 * 1024
# Smaller thresholds than the defaults, so that little content has many parts.
PARTS = {"multipart_threshold_bytes": 5 * MIB, "multipart_part_bytes": 5 * MIB}


@pytest.fixture(scope="module")
def octets():
    return random.Random(1).randbytes(21 * MIB)


@pytest.fixture
def mail(make_mail, make_hooked, octets):
    """A mail of five parts; `mail.content.before_read` is the test's to set."""
    return make_mail(make_hooked(octets, lambda position: None))


async def finished(connector):
    """Wait for the threads of a connector, also for those that nobody waits for."""
    await asyncio.to_thread(connector._threads._executor.shutdown)


async def test_large_content_goes_in_parts_and_comes_back_unchanged(open_connector, shelf, mail, octets, requests_of):
    connector = await open_connector(shelf.settings(**PARTS))
    requests = requests_of(connector)
    receipt = await connector.emit(mail)
    assert hashlib.sha256(shelf.octets(receipt.location["key"])).digest() == hashlib.sha256(octets).digest()
    assert receipt.location["etag"].endswith("-5")
    assert shelf.uploads() == []
    parts = [request for request in requests if request.operation == "UploadPart"]
    assert len(parts) == 5
    assert all(part.headers["x-amz-checksum-sha256"] for part in parts)
    (complete,) = [request for request in requests if request.operation == "CompleteMultipartUpload"]
    assert complete.headers["if-none-match"] == "*"


async def test_content_below_the_threshold_goes_at_once_without_being_held(open_connector, shelf, mail, requests_of):
    connector = await open_connector(shelf.settings(multipart_threshold_bytes=22 * MIB))
    requests = requests_of(connector)
    receipt = await connector.emit(mail)
    assert [request.operation for request in requests] == ["PutObject", "PutObject"]
    assert hashlib.sha256(shelf.octets(receipt.location["key"])).hexdigest() == mail.envelope.message.sha256


async def test_large_content_again_has_the_same_receipt(make_shelf, open_connector, mail):
    shelf = make_shelf(versioning=True)
    connector = await open_connector(shelf.settings(**PARTS))
    first = await connector.emit(mail)
    assert first.location["version"]
    assert await connector.emit(mail) == first
    assert shelf.uploads() == []


async def test_parts_of_another_size_are_the_same_content(open_connector, shelf, mail):
    first = await (await open_connector(shelf.settings(**PARTS))).emit(mail)
    again = await (await open_connector(shelf.settings(**{**PARTS, "multipart_part_bytes": 8 * MIB}))).emit(mail)
    assert again == first


async def test_the_terms_hold_for_an_object_in_parts(make_shelf, open_connector, mail):
    shelf = make_shelf(object_lock=True)
    terms = {"tags": {"source": "mail"}, "object_lock_mode": "GOVERNANCE", "object_lock_days": 1}
    connector = await open_connector(shelf.settings(**PARTS, **terms))
    key = (await connector.emit(mail)).location["key"]
    assert shelf.head(key)["ObjectLockMode"] == "GOVERNANCE"
    assert shelf.client.get_object_tagging(Bucket=shelf.name, Key=key)["TagSet"] == [{"Key": "source", "Value": "mail"}]


@pytest.mark.parametrize("position", [0, 11 * MIB], ids=["at the start", "in the third part"])
async def test_content_that_cannot_be_read_leaves_no_upload(open_connector, shelf, mail, position):
    def fail(at):
        if at >= position:
            raise OSError("the file that holds the content ended early")

    connector = await open_connector(shelf.settings(**PARTS))
    mail.content.before_read = fail
    with pytest.raises(TransientFailure, match="ended early"):
        await connector.emit(mail)
    assert shelf.uploads() == []
    assert shelf.keys() == []


async def test_content_that_changes_while_it_is_sent_leaves_no_upload(open_connector, shelf, make_mail, octets):
    mail = make_mail(octets)
    damaged = Mail(mail.envelope, Content(octets[:-1] + b"?"))
    connector = await open_connector(shelf.settings(**PARTS))
    with pytest.raises(TransientFailure, match="does not have the digest"):
        await connector.emit(damaged)
    assert shelf.uploads() == []
    assert shelf.keys() == []


@pytest.mark.parametrize("operation", ["UploadPart", "CompleteMultipartUpload"])
async def test_a_store_that_refuses_in_the_middle_is_left_without_an_upload(
    open_connector, shelf, mail, interfere, operation
):
    connector = await open_connector(shelf.settings(**PARTS))
    interfere(connector, operation, lambda request: (403, "AccessDenied"))
    with pytest.raises(TransientFailure) as failure:
        await connector.emit(mail)
    assert str(failure.value.status) == "4.3.5"
    assert shelf.uploads() == []
    assert shelf.keys() == []


async def test_a_completion_whose_answer_is_lost_is_a_success(open_connector, shelf, mail, interfere):
    connector = await open_connector(shelf.settings(**PARTS))
    client = shelf.client
    lost = []

    def complete_and_lose_the_answer(request):
        if not lost:
            lost.append(request)
            key, upload = shelf.uploads()[0], client.list_multipart_uploads(Bucket=shelf.name)["Uploads"][0]["UploadId"]
            parts = client.list_parts(Bucket=shelf.name, Key=key, UploadId=upload)["Parts"]
            chosen = [{name: part[name] for name in ("PartNumber", "ETag", "ChecksumSHA256")} for part in parts]
            client.complete_multipart_upload(
                Bucket=shelf.name, Key=key, UploadId=upload, MultipartUpload={"Parts": chosen}
            )
            return 500, "InternalError"
        return None

    interfere(connector, "CompleteMultipartUpload", complete_and_lose_the_answer)
    receipt = await connector.emit(mail)
    assert lost
    assert hashlib.sha256(shelf.octets(receipt.location["key"])).hexdigest() == mail.envelope.message.sha256


async def test_a_cancelled_upload_reads_no_more_and_is_aborted(open_connector, shelf, mail):
    loop, reading = asyncio.get_running_loop(), asyncio.Event()
    reads = []

    def note(position):
        reads.append(position)
        if position >= 11 * MIB:
            loop.call_soon_threadsafe(reading.set)

    connector = await open_connector(shelf.settings(**PARTS))
    mail.content.before_read = note
    emit = asyncio.create_task(connector.emit(mail))
    await reading.wait()
    emit.cancel()
    with pytest.raises(asyncio.CancelledError):
        await emit
    read = len(reads)
    await finished(connector)
    assert len(reads) == read
    assert shelf.uploads() == []
    assert shelf.keys() == []


async def test_an_upload_to_a_store_that_hangs_is_left_in_time_and_aborted_later(
    start_s3_server, open_connector, mail, shelf_on
):
    server = start_s3_server()
    shelf = shelf_on(server)
    loop, paused, reads = asyncio.get_running_loop(), asyncio.Event(), []

    def pause(position):
        reads.append(position)
        if position == 11 * MIB and not paused.is_set():
            server.pause()
            loop.call_soon_threadsafe(paused.set)

    connector = await open_connector(shelf.settings(**PARTS))
    mail.content.before_read = pause
    emit = asyncio.create_task(connector.emit(mail))
    await paused.wait()
    began = loop.time()
    emit.cancel()
    with pytest.raises(asyncio.CancelledError):
        await emit
    read = len(reads)
    await connector.close()
    # A request that hangs has ten seconds.
    assert loop.time() - began < 5
    server.resume()
    await finished(connector)
    assert len(reads) == read
    assert shelf.uploads() == []
    assert shelf.keys() == []


async def test_what_a_dead_store_keeps_of_an_upload_is_swept_up_later(start_s3_server, open_connector, mail, shelf_on):
    server = start_s3_server()
    shelf = shelf_on(server)
    connector = await open_connector(shelf.settings(**PARTS, deadline_seconds=12, prefix="mail/"))

    def kill(position):
        if position == 11 * MIB:
            mail.content.before_read = lambda position: None
            server.kill()

    mail.content.before_read = kill
    with pytest.raises(TransientFailure) as failure:
        await connector.emit(mail)
    assert str(failure.value.status) in ("4.4.1", "4.4.2")
    server.start()
    assert shelf.keys() == []
    assert len(shelf.uploads()) == 1
    shelf.client.create_multipart_upload(Bucket=shelf.name, Key="mail/somebody-elses.tar")
    store = Store(shelf.settings())
    # An upload that may still be under way somewhere is not touched …
    sweep(store, "mail/", before=datetime.now(UTC) - timedelta(hours=1))
    assert len(shelf.uploads()) == 2
    # … and one of somebody else never.
    sweep(store, "mail/", before=datetime.now(UTC) + timedelta(hours=1))
    assert shelf.uploads() == ["mail/somebody-elses.tar"]
    store.close()
    assert (await connector.emit(mail)).location["etag"].endswith("-5")


class Zeros(Content):
    """Content that takes no memory of its own."""

    def __init__(self, size):
        super().__init__()
        self.size = size

    def read_at(self, position, size):
        return bytes(max(0, min(size, self.size - position)))


@pytest.mark.parametrize("layout", ["message", "batch"])
async def test_memory_does_not_grow_with_the_content(open_connector, shelf, make_mail, layout):
    mail = make_mail(Zeros(64 * MIB))
    connector = await open_connector(shelf.settings(layout=layout, batch_max_age_seconds=0.01))
    await connector.emit(make_mail())
    tracemalloc.start()
    try:
        await connector.emit(mail)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 6 * MIB


async def test_what_would_be_too_many_parts_are_larger_parts(open_connector, shelf, make_mail, requests_of, interfere):
    mail = make_mail(b"x")
    huge = Mail(
        structs.replace(mail.envelope, message=structs.replace(mail.envelope.message, size=50_001 * 5 * MIB)),
        Zeros(50_001 * 5 * MIB),
    )
    connector = await open_connector(shelf.settings(**PARTS))
    requests = requests_of(connector)
    interfere(connector, "UploadPart", lambda request: (403, "AccessDenied"))
    with pytest.raises(TransientFailure):
        await connector.emit(huge)
    (part,) = [request for request in requests if request.operation == "UploadPart"]
    assert int(part.headers["content-length"]) == -(-50_001 * 5 * MIB // 10_000)
