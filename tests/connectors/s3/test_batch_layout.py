import asyncio
import random
import threading

import pytest

from gateway.connector import TransientFailure
from gateway.envelope import Content

MIB = 1024 * 1024


@pytest.fixture
def open_batches(open_connector, shelf):
    """Open a connector whose batches wait for nothing but what the test says."""

    async def open_with(**keys):
        return await open_connector(shelf.settings(**{"layout": "batch", "batch_max_age_seconds": 30, **keys}))

    return open_with


async def emits(connector, mails):
    """Emits under way, all of them in their batches."""
    tasks = [asyncio.create_task(connector.emit(mail)) for mail in mails]
    await asyncio.sleep(0)
    return tasks


async def test_a_batch_is_stored_when_it_has_mails_enough(open_batches, shelf, make_mail):
    connector = await open_batches(batch_max_mails=3)
    mails = [make_mail(b"mail %d" % n) for n in range(6)]
    receipts = await asyncio.gather(*map(connector.emit, mails))
    assert [receipt.location["index"] for receipt in receipts] == [0, 1, 2, 0, 1, 2]
    assert len({receipt.location["key"] for receipt in receipts}) == len(shelf.keys()) == 2
    for mail, receipt in zip(mails, receipts, strict=True):
        record = shelf.records(receipt.location["key"])[receipt.location["index"]]
        assert record == mail.inline()
        assert receipt.id == mail.envelope.id


async def test_the_key_names_the_day_the_first_mail_and_the_number(open_batches, make_mail):
    connector = await open_batches(batch_max_mails=2, prefix="mail/")
    first = make_mail(received_at="2026-11-21T10:00:00.000000Z")
    second = make_mail(received_at="2026-11-21T10:00:01.000000Z")
    receipt, _ = await asyncio.gather(connector.emit(first), connector.emit(second))
    assert receipt.location["key"].startswith(f"mail/2026/11/21/{first.envelope.id}-2-")


async def test_a_batch_is_stored_before_it_has_too_many_octets(open_batches, shelf, make_mail):
    connector = await open_batches(batch_max_bytes=MIB)
    mails = [make_mail(b"x" * (400 * 1024)) for _ in range(3)]
    first, second, third = await emits(connector, mails)
    one, two = await asyncio.gather(first, second)
    assert one.location["key"] == two.location["key"]
    assert not third.done()
    await connector.close()
    assert (await third).location["index"] == 0


async def test_a_batch_is_stored_at_its_age(open_batches, make_mail):
    connector = await open_batches(batch_max_age_seconds=0.05)
    assert (await connector.emit(make_mail())).location["index"] == 0


async def test_close_stores_the_open_batches(open_batches, shelf, make_mail):
    connector = await open_batches()
    waiting = await emits(connector, [make_mail(), make_mail()])
    await connector.close()
    receipts = await asyncio.gather(*waiting)
    assert [receipt.location["index"] for receipt in receipts] == [0, 1]
    assert len(shelf.keys()) == 1


async def test_no_mail_is_acknowledged_before_its_object_is_stored(open_batches, shelf, make_mail, interfere):
    connector = await open_batches(batch_max_mails=2)
    mails = [make_mail(), make_mail()]
    seen = []
    interfere(connector, "PutObject", lambda request: seen.append([task.done() for task in waiting]))
    waiting = await emits(connector, mails)
    await asyncio.gather(*waiting)
    assert seen == [[False, False]]


@pytest.mark.parametrize("compression", ["zstandard", "deflate"])
async def test_the_file_says_how_it_is_compressed(open_batches, shelf, make_mail, compression):
    connector = await open_batches(batch_max_mails=1, batch_compression=compression)
    receipt = await connector.emit(make_mail(b"compressible " * 10_000))
    octets = shelf.octets(receipt.location["key"])
    assert octets.startswith(b"Obj\x01")
    assert compression.encode() in octets[:20_000]
    assert len(octets) < 30_000


async def test_mails_of_different_prefixes_and_days_lie_in_different_files(open_batches, shelf, make_mail):
    connector = await open_batches(prefix="{gateway}/")
    days = ("2026-11-21T23:59:59.999999Z", "2026-11-22T00:00:00.000000Z")
    mails = [make_mail(gateway=gateway, received_at=day) for gateway in ("mx1", "mx2") for day in days]
    waiting = await emits(connector, mails + mails)
    await connector.close()
    receipts = await asyncio.gather(*waiting)
    assert [receipt.location["index"] for receipt in receipts] == [0, 0, 0, 0, 1, 1, 1, 1]
    folders = sorted(key.rpartition("/")[0] for key in shelf.keys(""))
    assert folders == ["mx1/2026/11/21", "mx1/2026/11/22", "mx2/2026/11/21", "mx2/2026/11/22"]


async def test_a_cancelled_mail_leaves_an_open_batch(open_batches, shelf, make_mail):
    connector = await open_batches(batch_max_mails=3)
    kept, cancelled, also_kept, last = (make_mail() for _ in range(4))
    waiting = await emits(connector, [kept, cancelled])
    waiting[1].cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting[1]
    assert shelf.keys() == []
    waiting += await emits(connector, [also_kept, last])
    receipts = await asyncio.gather(waiting[0], *waiting[2:])
    records = shelf.records(receipts[0].location["key"])
    assert [record.id for record in records] == [mail.envelope.id for mail in (kept, also_kept, last)]


async def test_the_only_mail_cancelled_leaves_nothing(open_batches, shelf, make_mail):
    connector = await open_batches()
    tasks = asyncio.all_tasks()
    (waiting,) = await emits(connector, [make_mail()])
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert asyncio.all_tasks() == tasks
    await connector.close()
    assert shelf.keys() == []


async def test_a_mail_that_cannot_be_read_fails_alone(open_batches, shelf, make_mail, make_hooked):
    def fail(position):
        raise OSError("the file that holds the content ended early")

    connector = await open_batches(batch_max_mails=3)
    bad = make_mail()
    bad = type(bad)(bad.envelope, make_hooked(b"x", fail))
    good = [make_mail(), make_mail()]
    outcomes = await asyncio.gather(*map(connector.emit, [good[0], bad, good[1]]), return_exceptions=True)
    assert isinstance(outcomes[1], TransientFailure)
    assert [outcomes[0].location["index"], outcomes[2].location["index"]] == [0, 1]
    assert [record.id for record in shelf.records(outcomes[0].location["key"])] == [mail.envelope.id for mail in good]


async def test_a_partly_failed_batch_settles_its_parts(open_batches, shelf, make_mail, make_hooked, interfere):
    left = threading.Event()

    def fail(position):
        # The mail behind this one has left the batch before its turn comes.
        left.wait(30)
        raise OSError("the file that holds the content ended early")

    connector = await open_batches(batch_max_bytes=MIB, batch_max_mails=3, batch_max_age_seconds=1)
    full, damaged = True, make_mail(b"x")
    unreadable = type(damaged)(damaged.envelope, make_hooked(b"x", fail))
    large, cancelled, *good = make_mail(b"x" * (MIB + 1)), make_mail(), make_mail(), make_mail()
    interfere(
        connector,
        "PutObject",
        lambda request: (507, "XMinioStorageFull") if full and request.url.endswith(".eml") else None,
    )
    # The content of the large mail has no room in a batch, and none beside it.
    with pytest.raises(TransientFailure) as refused:
        await connector.emit(large)
    assert str(refused.value.status) == "4.3.1"
    assert not refused.value.possibly_stored
    waiting = await emits(connector, [good[0], unreadable, cancelled])
    waiting[2].cancel()
    await asyncio.wait([waiting[2]])
    left.set()
    outcomes = await asyncio.gather(*waiting, *await emits(connector, [good[1]]), return_exceptions=True)
    assert isinstance(outcomes[1], TransientFailure)
    assert not outcomes[1].possibly_stored
    assert isinstance(outcomes[2], asyncio.CancelledError)
    settled = [outcomes[0], outcomes[3]]
    # What failed comes again, by itself, and each mail is there once.
    full = False
    settled += await asyncio.gather(*map(connector.emit, [damaged, large, cancelled]))
    assert [receipt.id for receipt in settled] == [mail.envelope.id for mail in (*good, damaged, large, cancelled)]
    for mail, receipt in zip((*good, damaged, large, cancelled), settled, strict=True):
        assert (await shelf.read_back(receipt)).content.read() == mail.content.read()
    files = [key for key in shelf.keys("") if key.endswith(".avro")]
    assert sorted(record.id for key in files for record in shelf.records(key)) == sorted(
        receipt.id for receipt in settled
    )


async def test_a_batch_of_which_nothing_can_be_read_is_no_object(open_batches, shelf, make_mail, make_hooked):
    def fail(position):
        raise OSError("the file that holds the content ended early")

    connector = await open_batches(batch_max_mails=1)
    mail = make_mail()
    with pytest.raises(TransientFailure, match="ended early"):
        await connector.emit(type(mail)(mail.envelope, make_hooked(b"x", fail)))
    assert shelf.keys() == []


async def test_a_mail_cancelled_while_its_batch_is_stored_is_read_no_more(open_batches, make_mail, make_hooked):
    loop, ended, late = asyncio.get_running_loop(), asyncio.Event(), []

    def cancel_the_second(position):
        loop.call_soon_threadsafe(second.cancel)
        asyncio.run_coroutine_threadsafe(ended.wait(), loop).result()

    def note(position):
        late.append(ended.is_set())

    connector = await open_batches(batch_max_mails=2)
    octets = b"x"
    plain = make_mail(octets)
    mails = [type(plain)(make_mail(octets).envelope, make_hooked(octets, hook)) for hook in (cancel_the_second, note)]
    first, second = await emits(connector, mails)
    with pytest.raises(asyncio.CancelledError):
        await second
    ended.set()
    assert (await first).location["index"] == 0
    assert late == []


async def test_content_too_large_for_a_batch_lies_beside_it(open_batches, shelf, make_mail):
    connector = await open_batches(batch_max_bytes=MIB, batch_max_mails=2)
    large, small = make_mail(b"x" * (MIB + 1)), make_mail()
    receipts = await asyncio.gather(connector.emit(large), connector.emit(small))
    assert receipts[0].location["key"] == receipts[1].location["key"]
    record = shelf.records(receipts[0].location["key"])[receipts[0].location["index"]]
    assert record.id == large.envelope.id
    assert record.message.content is None
    assert record.message.reference.connector == "archive"
    key = record.message.reference.location["key"]
    assert key.endswith(f"{large.envelope.id}.eml")
    assert shelf.octets(key) == large.content.read()


async def test_a_batch_above_the_threshold_goes_in_parts(open_batches, shelf, make_mail):
    connector = await open_batches(batch_max_mails=3, multipart_threshold_bytes=5 * MIB, multipart_part_bytes=5 * MIB)
    mails = [make_mail(Content(random.Random(n).randbytes(3 * MIB))) for n in range(3)]
    receipts = await asyncio.gather(*map(connector.emit, mails))
    assert receipts[0].location["etag"].endswith("-2")
    for mail, receipt in zip(mails, receipts, strict=True):
        assert (await shelf.read_back(receipt)).content.read() == mail.content.read()


async def test_every_mail_of_a_batch_hears_of_its_failure(open_batches, make_mail, interfere):
    connector = await open_batches(batch_max_mails=3)
    interfere(connector, "PutObject", lambda request: (507, "XMinioStorageFull"))
    outcomes = await asyncio.gather(*(connector.emit(make_mail()) for _ in range(3)), return_exceptions=True)
    assert [str(outcome.status) for outcome in outcomes] == ["4.3.1"] * 3
    assert not any(outcome.possibly_stored for outcome in outcomes)
    assert len(set(map(id, outcomes))) == 3
