"""The connector keeps the contract of connectors, in each form that holds an envelope whole, at a real broker."""

import asyncio
from collections.abc import Callable

import pytest

from connectors.kafka import CONNECTOR
from gateway.codec import avro_v1, json_v1
from gateway.connector import OrderedConnector, Receipt
from gateway.envelope import Content, Envelope, Mail
from gateway.testing import check_connector
from gateway.testing.samples import plain_mail
from tests.connectors.kafka.conftest import settings


class Reader:
    """Reads a topic again whenever it is asked for a record that it has not seen."""

    def __init__(self, cluster, topic: str, decode: Callable[[bytes], Envelope]):
        self._cluster = cluster
        self._topic = topic
        self._decode = decode
        self._values: dict[tuple[int, int], bytes] = {}
        self._reading = asyncio.Lock()

    async def read_back(self, receipt: Receipt) -> Mail:
        place = receipt.location["partition"], receipt.location["offset"]
        async with self._reading:
            if place not in self._values:
                records = await self._cluster.read(self._topic)
                self._values = {(record.partition, record.offset): record.value for record in records}
        envelope = self._decode(self._values[place])
        return Mail(envelope, Content(envelope.message.content))


@pytest.fixture
def topic(make_topic) -> str:
    return make_topic(partitions=3)


@pytest.mark.parametrize(
    ("form", "decode"), [("cloudevents-json", json_v1.decode), ("avro", avro_v1.decode)], ids=["json", "avro"]
)
async def test_it_keeps_the_contract(kafka, topic, form, decode):
    def make():
        return CONNECTOR.build(settings(kafka, topic, format=form), {})

    await check_connector(make, Reader(kafka, topic, decode).read_back, max_in_flight=CONNECTOR.max_in_flight)


async def test_it_says_in_which_order_mails_stand(kafka, topic):
    connector = CONNECTOR.build(settings(kafka, topic, key="{sender}"), {})
    assert isinstance(connector, OrderedConnector)
    assert connector.ordering_key(plain_mail()) == topic.encode() + b"\0a@example.net"


async def test_it_keeps_the_contract_with_raw_content(kafka, topic):
    def make():
        return CONNECTOR.build(settings(kafka, topic, format="raw"), {})

    await check_connector(make, max_in_flight=CONNECTOR.max_in_flight)
