import asyncio

import pytest

from connectors.s3 import CONNECTOR
from gateway.connector import PermanentFailure, TransientFailure

pytestmark = pytest.mark.usefixtures("either_way")

LAYOUTS = pytest.mark.parametrize("layout", ["message", "batch"])
QUICK = {"deadline_seconds": 4, "batch_max_age_seconds": 0.01}


@pytest.mark.parametrize(
    ("keys", "advice"),
    [
        ({"bucket": "no-such-bucket"}, "create it, or correct `bucket`"),
        ({"bucket": "Not A Bucket"}, "correct the connector's settings"),
        ({"access_key_id": "nobody"}, "correct `access_key_id` and `secret_access_key`"),
        ({"secret_access_key": "canary"}, "correct `access_key_id` and `secret_access_key`"),
        ({"endpoint_url": "http://no_host"}, "correct the connector's settings"),
    ],
)
async def test_what_only_the_operator_can_mend_is_said_at_the_start(shelf, keys, advice):
    connector = CONNECTOR.build(shelf.settings(**keys), {})
    with pytest.raises(PermanentFailure) as failure:
        await connector.open()
    await connector.close()
    assert advice in failure.value.cause
    assert "canary" not in str(failure.value)
    assert str(failure.value.status) == "5.3.5"


async def test_missing_credentials_are_said_at_the_start(shelf, monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_CONTAINER_CREDENTIALS_FULL_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    connector = CONNECTOR.build(shelf.settings(access_key_id="", secret_access_key=""), {})
    with pytest.raises(PermanentFailure, match="give the SDK credentials"):
        await connector.open()
    await connector.close()


async def test_credentials_of_the_environment_are_used(shelf, monkeypatch, open_connector, make_mail):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", shelf.server.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", shelf.server.secret_key)
    connector = await open_connector(shelf.settings(access_key_id="", secret_access_key=""))
    assert await connector.emit(make_mail())


@LAYOUTS
async def test_a_store_that_is_down_does_not_keep_us_from_starting(
    start_s3_server, shelf_on, open_connector, make_mail, layout
):
    server = start_s3_server()
    shelf = shelf_on(server)
    server.stop()
    connector = await open_connector(shelf.settings(layout=layout, **QUICK))
    mail = make_mail()
    with pytest.raises(TransientFailure) as failure:
        await connector.emit(mail)
    assert str(failure.value.status) == "4.4.1"
    assert not failure.value.possibly_stored
    server.start()
    receipt = await connector.emit(mail)
    assert (await shelf.read_back(receipt)).content.read() == mail.content.read()


@LAYOUTS
async def test_a_store_that_hangs_fails_the_mail_and_holds_up_neither_the_deadline_nor_close(
    start_s3_server, shelf_on, open_connector, make_mail, layout
):
    server = start_s3_server()
    shelf = shelf_on(server)
    loop = asyncio.get_running_loop()
    connector = await open_connector(shelf.settings(layout=layout, **QUICK))
    patient = await open_connector(shelf.settings(layout=layout, deadline_seconds=60, batch_max_age_seconds=0.01))
    server.pause()
    with pytest.raises(TransientFailure) as failure:
        await connector.emit(make_mail())
    assert str(failure.value.status) == "4.4.2"
    began = loop.time()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await patient.emit(make_mail())
    # A request that hangs has ten seconds.
    assert loop.time() - began < 5
    waiting = asyncio.create_task(patient.emit(make_mail()))
    await asyncio.sleep(0)
    began = loop.time()
    await patient.close()
    assert loop.time() - began < 5
    with pytest.raises(TransientFailure) as stopped:
        await waiting
    # The batch was under way; of the mail in objects of its own the envelope was not.
    assert stopped.value.possibly_stored == (layout == "batch")
    server.resume()


@LAYOUTS
async def test_a_bucket_that_vanishes_is_a_temporary_failure_of_each_mail(shelf, open_connector, make_mail, layout):
    connector = await open_connector(shelf.settings(layout=layout, batch_max_age_seconds=0.01))
    shelf.client.delete_bucket(Bucket=shelf.name)
    outcomes = await asyncio.gather(*(connector.emit(make_mail()) for _ in range(3)), return_exceptions=True)
    assert [str(outcome.status) for outcome in outcomes] == ["4.3.5"] * 3
    assert all("NoSuchBucket" in outcome.cause for outcome in outcomes)


@LAYOUTS
async def test_a_mail_that_was_stored_although_the_store_said_500_is_not_stored_twice(
    shelf, open_connector, make_mail, interfere, layout
):
    connector = await open_connector(shelf.settings(layout=layout, batch_max_age_seconds=0.01))
    asked = []

    def store_and_say_500(request):
        asked.append(request.url)
        if len(asked) == 1:
            key = request.url.split("/", 4)[4]
            shelf.client.put_object(Bucket=shelf.name, Key=key, Body=request.body)
            return 500, "InternalError"
        return None

    interfere(connector, "PutObject", store_and_say_500)
    mail = make_mail()
    receipt = await connector.emit(mail)
    assert asked[0] == asked[1]
    assert (await shelf.read_back(receipt)).content.read() == mail.content.read()


@pytest.mark.parametrize("answer", [(503, "SlowDown"), (409, "ConditionalRequestConflict"), (429, "TooManyRequests")])
async def test_a_busy_store_is_asked_three_times_and_no_more(shelf, open_connector, make_mail, interfere, answer):
    connector = await open_connector(shelf.settings())
    asked = []

    def busy(request):
        asked.append(request.url)
        return answer

    interfere(connector, "PutObject", busy)
    with pytest.raises(TransientFailure) as failure:
        await connector.emit(make_mail())
    assert str(failure.value.status) == "4.4.2"
    assert len(asked) == 3


async def test_a_store_without_conditions_is_a_temporary_failure(shelf, open_connector, make_mail, interfere):
    connector = await open_connector(shelf.settings())
    interfere(connector, "PutObject", lambda request: (501, "NotImplemented"))
    with pytest.raises(TransientFailure, match="NotImplemented"):
        await connector.emit(make_mail())
