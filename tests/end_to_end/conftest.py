"""Gateways for the tests, and what more than one of them needs."""

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from tests.end_to_end.consumers import Consumer, consuming
from tests.end_to_end.doors import Doors, make_doors
from tests.end_to_end.gateway import Gateway
from tests.end_to_end.tables import LISTENERS
from tests.servers.kafka import KafkaCluster

_ALARM = '"event": "alarm: '


@pytest.fixture
def start_gateway(tmp_path: Path) -> Iterator[Callable[..., Gateway]]:
    """Start a gateway for one test: call it with the tables of connectors and routes, and listeners if they are others.

    One that still runs when the test ends is asked to end, which it has to do in good order and without an error. What
    an operator has to know (an alarm) is none of the gateway's.
    """
    with _starting(tmp_path) as start:
        yield start


@pytest.fixture(scope="module")
def start_shared_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Gateway]]:
    """Start a gateway for the tests of one module."""
    with _starting(tmp_path_factory.mktemp("shared")) as start:
        yield start


@contextmanager
def _starting(root: Path) -> Iterator[Callable[..., Gateway]]:
    started: list[Gateway] = []

    def start(tables: str, *, listeners: str = LISTENERS) -> Gateway:
        folder = root / f"gateway-{len(started)}"
        folder.mkdir()
        gateway = Gateway(folder, listeners + tables)
        gateway.start()
        started.append(gateway)
        return gateway

    yield start
    try:
        for gateway in started:
            if gateway.running:
                assert gateway.stop() == 0, gateway.log
            # aiokafka has a logger of its own, and calls it an error when a broker does not answer.
            errors = [line for line in gateway.log.splitlines() if '"level": "error"' in line and _ALARM not in line]
            assert not [line for line in errors if '"logger": "aiokafka' not in line], gateway.log
            assert "Traceback" not in gateway.log, gateway.log
    finally:
        for gateway in started:
            if gateway.running:
                gateway.kill()


@pytest.fixture
def topic(kafka: KafkaCluster) -> str:
    """A topic of the test's own, with one partition."""
    name = f"end-to-end-{secrets.token_hex(4)}"
    kafka.create_topic(name)
    return name


@pytest.fixture(scope="session")
def consumer_server() -> Iterator[Consumer]:
    with consuming() as consumer:
        yield consumer


@pytest.fixture
def consumer(consumer_server: Consumer) -> Iterator[Consumer]:
    """An HTTP consumer that takes every mail, until the test says otherwise."""
    consumer_server.reset()
    yield consumer_server
    consumer_server.may_answer.set()


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """The files of a certificate for the loopback address, and the authority that clients trust."""

    authority: Path
    chain: Path
    key: Path


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    folder = tmp_path_factory.mktemp("certificate")
    files = Certificate(authority=folder / "ca.pem", chain=folder / "chain.pem", key=folder / "key.pem")
    authority = trustme.CA()
    leaf = authority.issue_cert("127.0.0.1", "localhost")
    authority.cert_pem.write_to_path(files.authority)
    leaf.private_key_pem.write_to_path(files.key)
    files.chain.write_bytes(b"".join(pem.bytes() for pem in leaf.cert_chain_pems))
    return files


@pytest.fixture(scope="session")
def doors(tmp_path_factory: pytest.TempPathFactory, certificate: Certificate) -> Iterator[Doors]:
    """A gateway with a listener of every kind, which the whole run shares."""
    doors = make_doors(tmp_path_factory.mktemp("doors"), chain=certificate.chain, key=certificate.key)
    with doors.gateway:
        yield doors
        assert doors.gateway.stop() == 0
