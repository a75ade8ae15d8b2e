"""What a Python user would write: aiosmtpd, and each mail a Kafka record that all in-sync replicas acknowledge.

python aiosmtpd_kafka.py PORT BROKERS TOPIC
"""

import asyncio
import sys

from aiokafka import AIOKafkaProducer
from aiosmtpd.smtp import SMTP


class Handler:
    def __init__(self, producer, topic):
        self.producer = producer
        self.topic = topic

    async def handle_DATA(self, server, session, envelope):
        await self.producer.send_and_wait(self.topic, envelope.content)
        return "250 OK"


async def main(port, brokers, topic):
    producer = AIOKafkaProducer(bootstrap_servers=brokers.split(","), acks="all")
    await producer.start()
    handler = Handler(producer, topic)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(handler), "127.0.0.1", int(port), backlog=1000)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
