"""Faults between the connector and a real store: what a failure says is true, and nothing is left half-done."""

import asyncio
import hashlib
import random

import pytest

from gateway.connector import TransientFailure
from gateway.envelope import Content
from tests.servers.fault_proxy import Bandwidth, FaultProxy, Latency, LimitData, ResetPeer, Slicer, Timeout

pytestmark = pytest.mark.usefixtures("either_way")

MIB = 1024 * 1024
PARTS = {"multipart_threshold_bytes": 5 * MIB, "multipart_part_bytes": 5 * MIB}
BROKEN = pytest.mark.parametrize(
    "fault",
    [ResetPeer(), LimitData(), LimitData(after=20), LimitData(after=60), LimitData(after=200)],
    ids=["reset", "closed", "closed at 20", "closed at 60", "closed at 200"],
)


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    monkeypatch.setattr("connectors.s3.store._PAUSES", (0.01, 0.01))


@pytest.fixture
async def proxy(s3_server):
    async with FaultProxy("127.0.0.1", int(s3_server.endpoint_url.rpartition(":")[2])) as proxy:
        yield proxy


@pytest.fixture
def open_behind(open_connector, shelf, proxy):
    """Open a connector that has the proxy before its store."""

    async def open_with(**keys):
        return await open_connector(shelf.settings(endpoint_url=f"http://127.0.0.1:{proxy.port}", **keys))

    return open_with


@pytest.fixture
def during(interfere, proxy):
    """Have a fault on the way back when a request leaves, `times` times at most, until what is returned is called."""

    def arm(connector, operation, fault, *, suffix="", times=9):
        faults = [(fault,)] * times

        def on_request(request):
            if request.url.partition("?")[0].endswith(suffix):
                proxy.downstream = faults.pop() if faults else ()

        def heal():
            faults.clear()
            proxy.downstream = ()

        interfere(connector, operation, on_request)
        return heal

    return arm


@pytest.fixture(scope="module")
def octets():
    return random.Random(2).randbytes(11 * MIB)


async def failure_of(connector, mail) -> TransientFailure:
    with pytest.raises(TransientFailure) as caught:
        await connector.emit(mail)
    return caught.value


@pytest.fixture
def assert_stored(shelf):
    """The mail, when it comes again, is there whole and alone."""

    async def emit_and_look(connector, mail):
        receipt = await connector.emit(mail)
        back = await shelf.read_back(receipt)
        assert hashlib.sha256(back.content.read()).hexdigest() == mail.envelope.message.sha256
        assert sorted(key.rpartition(".")[2] for key in list(shelf.keys())) == ["eml", "json"]
        assert shelf.uploads() == []

    return emit_and_look


@BROKEN
async def test_an_envelope_whose_answer_got_lost_may_make_the_mail_stored(  # noqa: PLR0917  # fixtures
    open_behind, shelf, make_mail, during, fault, assert_stored
):
    connector = await open_behind()
    mail = make_mail()
    heal = during(connector, "PutObject", fault, suffix=".json")
    failure = await failure_of(connector, mail)
    assert failure.possibly_stored
    assert str(failure.status) == "4.4.2"
    assert len(shelf.keys()) == 2
    heal()
    await assert_stored(connector, mail)


async def test_without_its_envelope_no_mail_is_stored(open_behind, shelf, make_mail, during, assert_stored):
    connector = await open_behind()
    mail = make_mail()
    heal = during(connector, "PutObject", ResetPeer(), suffix=".eml")
    assert not (await failure_of(connector, mail)).possibly_stored
    (content,) = shelf.keys()
    assert content.endswith(".eml")
    heal()
    await assert_stored(connector, mail)


async def test_an_answer_that_is_swallowed_is_waited_for_and_no_longer(open_behind, make_mail, during, assert_stored):
    connector = await open_behind(deadline_seconds=6)
    mail = make_mail()
    heal = during(connector, "PutObject", Timeout(), suffix=".json")
    assert (await failure_of(connector, mail)).possibly_stored
    heal()
    await assert_stored(connector, mail)


async def test_an_attempt_that_may_have_stored_the_mail_is_not_forgotten_over_a_later_one(
    open_behind, make_mail, interfere
):
    connector = await open_behind()
    answers = iter([(500, "InternalError"), (403, "AccessDenied")])

    def store_and_refuse(request):
        if request.url.endswith(".json"):
            return next(answers)
        return None

    interfere(connector, "PutObject", store_and_refuse)
    failure = await failure_of(connector, make_mail())
    assert failure.possibly_stored
    assert str(failure.status) == "4.3.5"


@pytest.mark.parametrize(
    ("answer", "possibly_stored"),
    [
        ((500, "InternalError"), True),
        ((503, "SlowDown"), True),
        ((409, "ConditionalRequestConflict"), True),
        ((429, "TooManyRequests"), False),
        ((507, "XMinioStorageFull"), False),
        ((403, "AccessDenied"), False),
        ((501, "NotImplemented"), False),
    ],
)
async def test_what_the_store_said_tells_whether_it_may_have_the_mail(
    open_behind, make_mail, interfere, answer, possibly_stored
):
    connector = await open_behind()
    interfere(connector, "PutObject", lambda request: answer if request.url.endswith(".json") else None)
    assert (await failure_of(connector, make_mail())).possibly_stored == possibly_stored


@pytest.mark.parametrize(("answer", "possibly_stored"), [((503, "SlowDown"), True), ((404, "NotFound"), False)])
async def test_a_mail_that_is_there_and_cannot_be_looked_at_is_possibly_stored(
    open_behind, make_mail, interfere, answer, possibly_stored
):
    connector = await open_behind()
    mail = make_mail()
    await connector.emit(mail)
    interfere(connector, "HeadObject", lambda request: answer if request.url.endswith(".json") else None)
    assert (await failure_of(connector, mail)).possibly_stored == possibly_stored


@BROKEN
async def test_a_batch_whose_answer_got_lost_may_hold_each_of_its_mails(open_behind, shelf, make_mail, during, fault):
    connector = await open_behind(layout="batch", batch_max_mails=2, batch_max_age_seconds=30)
    mails = [make_mail(b"mail %d" % n) for n in range(2)]
    heal = during(connector, "PutObject", fault)
    failures = await asyncio.gather(*(failure_of(connector, mail) for mail in mails))
    assert all(failure.possibly_stored for failure in failures)
    heal()
    receipts = await asyncio.gather(*map(connector.emit, mails))
    for mail, receipt in zip(mails, receipts, strict=True):
        assert (await shelf.read_back(receipt)).content.read() == mail.content.read()


async def test_an_upload_that_stalls_at_a_part_goes_on_over_another_connection(
    open_behind, make_mail, octets, proxy, assert_stored
):
    connector = await open_behind(**PARTS, deadline_seconds=12)
    mail = make_mail(octets)
    # The third part of three, and its first connection only: the counting begins anew on the next.
    proxy.upstream = (Timeout(after=10 * MIB + MIB // 2),)
    receipt = await connector.emit(mail)
    assert proxy.struck.is_set()
    assert receipt.location["etag"].endswith("-3")
    await assert_stored(connector, mail)


async def test_an_upload_that_stalls_for_good_is_no_mail_and_is_gone_when_the_mail_has_come_again(  # noqa: PLR0917  # fixtures
    open_behind, shelf, make_mail, octets, proxy, interfere, assert_stored
):
    connector = await open_behind(**PARTS, deadline_seconds=8)
    mail = make_mail(octets)

    def stall(request):
        proxy.upstream = (Timeout(),) if stalls else ()

    stalls = True
    interfere(connector, "UploadPart", stall)
    failure = await failure_of(connector, mail)
    assert not failure.possibly_stored
    assert str(failure.status) == "4.4.2"
    # The request that would have aborted it got lost as well.
    assert len(shelf.uploads()) == 1
    assert shelf.keys() == []
    stalls = False
    proxy.upstream = ()
    await assert_stored(connector, mail)


@pytest.mark.parametrize(
    "fault",
    [ResetPeer(), LimitData(after=200), LimitData(after=600)],
    ids=["reset", "closed in the header", "closed in the body"],
)
async def test_a_completion_is_asked_for_again_and_its_answer_found(  # noqa: PLR0917  # fixtures
    open_behind, make_mail, octets, during, fault, assert_stored
):
    connector = await open_behind(**PARTS)
    mail = make_mail(octets)
    during(connector, "CompleteMultipartUpload", fault, times=1)
    await assert_stored(connector, mail)


async def test_large_content_that_may_be_there_is_no_mail_yet(  # fixtures
    open_behind, make_mail, octets, during, assert_stored
):
    connector = await open_behind(**PARTS)
    mail = make_mail(octets)
    heal = during(connector, "CompleteMultipartUpload", ResetPeer())
    assert not (await failure_of(connector, mail)).possibly_stored
    heal()
    await assert_stored(connector, mail)


async def test_an_upload_of_which_only_the_store_knows_is_aborted(
    open_behind, make_mail, octets, during, assert_stored
):
    connector = await open_behind(**PARTS)
    mail = make_mail(octets)
    during(connector, "CreateMultipartUpload", ResetPeer(), times=1)
    await assert_stored(connector, mail)


@pytest.mark.parametrize("toxic", [Slicer(5000), Bandwidth(20 * MIB), Latency(0.002)], ids=["slices", "narrow", "late"])
async def test_a_poor_link_changes_nothing(  # noqa: PLR0917  # fixtures
    open_behind, make_mail, octets, proxy, toxic, assert_stored
):
    connector = await open_behind(**PARTS)
    proxy.upstream = proxy.downstream = (toxic,)
    await assert_stored(connector, make_mail(Content(octets)))


async def test_content_that_never_gets_through_whole_is_not_stored(  # noqa: PLR0917  # fixtures
    open_behind, shelf, make_mail, octets, proxy, assert_stored
):
    connector = await open_behind(multipart_threshold_bytes=16 * MIB)
    # Each connection ends after so much, and the content is more.
    proxy.upstream = (ResetPeer(after=6 * MIB),)
    mail = make_mail(octets)
    assert not (await failure_of(connector, mail)).possibly_stored
    assert shelf.keys() == []
    proxy.upstream = ()
    await assert_stored(connector, mail)
