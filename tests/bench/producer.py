"""How many records a second aiokafka takes by itself, each acknowledged by all replicas: its share of a mail to Kafka.

It is asked as the connector asks it: idempotent, in compressed batches, on the same event loop, to one broker.
`python -m tests.bench.producer BROKERS TOPIC RECORDS` sends them, and prints seconds and processor time.
"""

import asyncio
import json
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import uvloop
from aiokafka import AIOKafkaProducer

from tests.bench.generator import content
from tests.bench.servers import TOPIC, Servers

__all__ = ["record_rate"]

# A mail of 1 KB with its envelope has about as many, and as many are sent at once as there are sessions.
_OCTETS = 2_560
_AT_ONCE = 200
_SECONDS = 120.0


def record_rate(records: int) -> tuple[float, float]:
    """Records a second, and seconds of the processor for each. Raises Unavailable, StartFailed."""
    with ExitStack() as running:
        bootstrap = Servers(running).kafka(1).bootstrap
        command = [sys.executable, "-m", "tests.bench.producer", bootstrap, TOPIC, str(records)]
        done = subprocess.run(
            command, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=_SECONDS, check=True
        )
        seconds, cpu_seconds = json.loads(done.stdout)
        return records / seconds, cpu_seconds / records


async def _send(bootstrap: str, topic: str, records: int) -> tuple[float, float]:
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap.split(","), acks="all", enable_idempotence=True, compression_type="zstd"
    )
    await producer.start()
    try:
        left = iter(range(records))
        value = content(_OCTETS)

        async def session() -> None:
            for _ in left:
                await producer.send_and_wait(topic, value)

        await producer.send_and_wait(topic, value)
        began, cpu = time.perf_counter(), time.process_time()
        await asyncio.gather(*(session() for _ in range(_AT_ONCE)))
        return time.perf_counter() - began, time.process_time() - cpu
    finally:
        await producer.stop()


if __name__ == "__main__":
    print(json.dumps(uvloop.run(_send(sys.argv[1], sys.argv[2], int(sys.argv[3])))))
