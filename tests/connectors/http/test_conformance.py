"""The contract of every connector, with a real consumer in each format."""

import json

import pytest

from connectors.http import CONNECTOR
from gateway.codec import json_v1
from gateway.connector import Mail, Receipt
from gateway.envelope import Content, Envelope
from gateway.testing import check_connector
from tests.connectors.http.consumers import Received, Recorder, make_connector, served
from tests.connectors.http.forms import read_form


async def read_binary(request: Received) -> Mail:
    return inline(json_v1.decode(request.body))


async def read_structured(request: Received) -> Mail:
    return inline(json_v1.decode(json.dumps(json.loads(request.body)["data"]).encode()))


async def read_multipart(request: Received) -> Mail:
    (_, _, _, envelope), (_, _, _, content), *_ = await read_form(request["content-type"], request.body)
    return Mail(json_v1.decode(envelope), Content(content))


def inline(envelope: Envelope) -> Mail:
    return Mail(envelope, Content(envelope.message.content))


@pytest.mark.parametrize(
    ("form", "read"),
    [
        ("cloudevents-binary", read_binary),
        ("cloudevents-structured", read_structured),
        ("multipart", read_multipart),
        # A raw mail has its header fields in its body and not in an envelope.
        ("raw", None),
    ],
)
async def test_the_connector_keeps_the_contract(form, read):
    recorder = Recorder()

    async def read_back(receipt: Receipt) -> Mail:
        return await read(recorder.received[receipt.id])

    with served(recorder) as url:
        await check_connector(
            lambda: make_connector(url, format=form, header_max_bytes=65536),
            read_back if read else None,
            max_in_flight=CONNECTOR.max_in_flight,
        )
