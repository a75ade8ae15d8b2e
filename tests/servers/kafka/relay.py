"""A relay that reads Kafka's protocol: faults between a client and a real broker that no broker makes when asked.

It is the broker that its clients know: in the metadata that passes through it stands in the broker's place. Requests of
one connection go through it one after another.
"""

import asyncio
import contextlib
import struct
from collections import deque
from enum import Enum
from io import BytesIO
from typing import Any, Self, TypeAlias

from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.protocol.produce import ProduceRequest

from tests.servers.ports import LOOPBACK

_PRODUCE, _METADATA = ProduceRequest.API_KEY, MetadataRequest.API_KEY
_STRUCTS = {
    (each.API_KEY, each.API_VERSION): each for request in (ProduceRequest, MetadataRequest) for each in request._CLASSES
}
_UNKNOWN_TOPIC = 3


class Lost(Enum):
    """How the answer to a produce request is lost, after the broker has appended its records."""

    CONNECTION_ENDS = "the connection ends"
    SILENCE = "nothing comes, and the connection stays"


# What becomes of a produce request: its answer is lost, or the broker never sees it and this error code is the answer.
Fate: TypeAlias = Lost | int


class KafkaRelay:
    """Stands before one broker, at `bootstrap`.

    `fates` are those of the next produce requests, in turn; `every` is that of all others, None to let them pass.
    While `hidden`, the metadata knows no topic. `produced` counts the produce requests that came, `hid` the metadata
    without topics that was given.
    """

    def __init__(self, broker: str) -> None:
        host, port = broker.split(":")
        self._broker = host, int(port)
        self.fates: deque[Fate] = deque()
        self.every: Fate | None = None
        self.hidden = False
        self.produced = 0
        self.hid = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, LOOPBACK, 0)
        self._port = self._server.sockets[0].getsockname()[1]
        self.bootstrap = f"{LOOPBACK}:{self._port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        self._tasks.add(task)
        there, back = await asyncio.open_connection(*self._broker)
        # A cancelled handler would be reported as an error by Python 3.11's streams.
        with contextlib.suppress(asyncio.CancelledError, asyncio.IncompleteReadError, ConnectionError):
            while True:
                await self._answer(await _frame(reader), there, back, writer)
        for end in (back, writer):
            end.transport.abort()
        self._tasks.discard(task)

    async def _answer(self, request: bytes, there: Any, back: Any, client: Any) -> None:
        key, version, correlation = struct.unpack_from(">hhi", request)
        fate = self._fate() if key == _PRODUCE else None
        if isinstance(fate, int):
            refused = _refusal(_STRUCTS[key, version], request, fate)
            client.write(_framed(struct.pack(">i", correlation) + refused))
            return
        back.write(_framed(request))
        answer = await _frame(there)
        if fate is Lost.CONNECTION_ENDS:
            raise ConnectionResetError
        if fate is Lost.SILENCE:
            # Until the client ends the connection: an answer to what comes next would be out of turn.
            await asyncio.get_running_loop().create_future()
        if key == _METADATA:
            answer = answer[:4] + self._metadata(_STRUCTS[key, version], answer[4:])
        client.write(_framed(answer))

    def _fate(self) -> Fate | None:
        self.produced += 1
        return self.fates.popleft() if self.fates else self.every

    def _metadata(self, request: Any, answer: bytes) -> bytes:
        metadata = request.RESPONSE_TYPE.decode(answer)
        metadata.brokers = [(id_, LOOPBACK, self._port, *more) for id_, _, _, *more in metadata.brokers]
        if self.hidden:
            self.hid += 1
            metadata.topics = [(_UNKNOWN_TOPIC, name, False, []) for _, name, *_ in metadata.topics]
        return metadata.encode()


def _refusal(request: Any, octets: bytes, code: int) -> bytes:
    body = BytesIO(octets)
    body.seek(8)
    (length,) = struct.unpack(">h", body.read(2))
    body.seek(length, 1)
    partitions = [
        # Partition, error code, offset, timestamp, first offset of the log.
        (topic, [(partition, code, -1, -1, -1) for partition, _ in records])
        for topic, records in request.decode(body).topics
    ]
    return request.RESPONSE_TYPE(topics=partitions, throttle_time_ms=0).encode()


async def _frame(reader: asyncio.StreamReader) -> bytes:
    (size,) = struct.unpack(">i", await reader.readexactly(4))
    return await reader.readexactly(size)


def _framed(octets: bytes) -> bytes:
    return struct.pack(">i", len(octets)) + octets
