"""The schema registry, against a small one that answers as Confluent's does."""

import asyncio
import json
import ssl
from base64 import b64decode

import pytest
from aiohttp import web
from pydantic import SecretStr

from connectors.kafka.registry import SchemaRegistry
from gateway.codec import avro_v1
from gateway.connector import TransientFailure


@pytest.fixture
async def connect():
    made = []

    def connect(url, username="", password=""):
        made.append(
            SchemaRegistry(url, username=username, password=SecretStr(password), tls=ssl.create_default_context())
        )
        return made[-1]

    yield connect
    for registry in made:
        await registry.close()


async def test_the_schema_is_registered_once_per_topic_however_many_ask(registry_server, connect):
    registry = connect(registry_server.url)
    ids = await asyncio.gather(*(registry.schema_id(topic) for topic in ["mail", "other"] * 10))
    assert ids == [41, 42] * 10
    assert [path for path, _, _ in registry_server.requests] == [
        "/api/subjects/mail-value/versions",
        "/api/subjects/other-value/versions",
    ]


async def test_what_is_registered_is_the_schema_of_the_envelope(registry_server, connect):
    await connect(registry_server.url).schema_id("mail")
    _, headers, body = registry_server.requests[0]
    assert headers["Content-Type"] == "application/vnd.schemaregistry.v1+json"
    assert body["schemaType"] == "AVRO"
    assert json.loads(body["schema"]) == avro_v1.SCHEMA


async def test_user_and_password_are_sent_where_there_are_any(registry_server, connect):
    await connect(registry_server.url, "user", "pässword").schema_id("mail")
    scheme, credentials = registry_server.requests[0][1]["Authorization"].split()
    assert (scheme, b64decode(credentials)) == ("Basic", "user:pässword".encode())


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        (web.json_response({"error_code": 409, "message": "incompatible"}, status=409), "status 409: .*incompatible"),
        (web.json_response({"error_code": 40101}, status=401), "status 401"),
        (web.Response(status=302, headers={"Location": "http://127.0.0.1:9/"}), "status 302"),
        (web.Response(text="<html>"), "no id in the answer"),
        (web.json_response({"id": "1"}), "no id in the answer"),
        (web.Response(status=500, text="\n\x1b" + "x" * 1_000_000), r"status 500: '\\n\\x1bx{198}'\)\Z"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_another_answer_is_the_operators_matter_and_is_shown_safely(registry_server, connect, answer, cause):
    registry_server.answer = answer
    with pytest.raises(TransientFailure, match=cause) as caught:
        await connect(registry_server.url).schema_id("mail")
    assert str(caught.value.status) == "4.3.5"
    assert cause not in caught.value.text


async def test_a_registry_that_is_not_there_is_transient_and_shows_no_password(connect):
    with pytest.raises(TransientFailure) as caught:
        await connect("http://127.0.0.1:9", "user", "canary-7f3a").schema_id("mail")
    assert str(caught.value.status) == "4.4.1"
    assert "canary-7f3a" not in str(caught.value)


async def test_a_registry_that_hangs_does_not_hold_up_the_end(connect, silent):
    registry = connect(f"http://{silent}")
    asking = asyncio.create_task(registry.schema_id("mail"))
    await asyncio.sleep(0)
    async with asyncio.timeout(2):
        await registry.close()
    with pytest.raises(TransientFailure):
        await asking
