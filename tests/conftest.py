"""Fixtures over the real servers of `tests/servers`.

A server starts when the first test asks for it and ends with the run, so that a run that needs none starts none. All
are plain objects, bound to no event loop. A test that takes a shared server down brings it back before it ends; one
that needs a server of its own asks for the `start_…` fixture.

Where a server cannot be had, its tests are skipped and say why; with CI set they fail instead: there, nothing may go
untested in silence.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.servers.dovecot import Dovecot
from tests.servers.exim import Exim
from tests.servers.kafka import KafkaCluster
from tests.servers.postfix import Postfix
from tests.servers.processes import Unavailable, find_program
from tests.servers.s3 import S3Server
from tests.servers.smtp_sink import SmtpSink

# A machine under load has slow moments; what must be fast has a test that says so.
settings.register_profile("mailsluice", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("mailsluice")


@contextmanager
def _or_skip() -> Iterator[None]:
    try:
        yield
    except Unavailable as reason:
        if os.environ.get("CI"):
            pytest.fail(str(reason), pytrace=False)
        pytest.skip(str(reason))


@contextmanager
def _starting(server: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
    with ExitStack() as started:

        def start(*arguments: Any, **options: Any) -> Any:
            with _or_skip():
                return started.enter_context(server(*arguments, **options))

        yield start


@pytest.fixture(scope="session")
def kafka() -> Iterator[KafkaCluster]:
    """A Kafka broker that the whole run shares; topics are the tests' own, under names no other test uses."""
    with _starting(KafkaCluster) as start:
        yield start()


@pytest.fixture
def start_kafka() -> Iterator[Callable[..., KafkaCluster]]:
    """Start a Kafka cluster for this test only: call it with the arguments of `KafkaCluster`, `nodes=3` say."""
    with _starting(KafkaCluster) as start:
        yield start


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """An S3 server that the whole run shares; buckets are the tests' own, by `create_bucket()`."""
    with _starting(S3Server) as start:
        yield start()


@pytest.fixture
def start_s3_server() -> Iterator[Callable[..., S3Server]]:
    """Start an S3 server for this test only."""
    with _starting(S3Server) as start:
        yield start


@pytest.fixture
def postfix() -> Iterator[Callable[..., Postfix]]:
    """Start a Postfix that relays to where the test says: call it with the arguments of `Postfix`."""
    with _starting(Postfix) as start:
        yield start


@pytest.fixture
def exim() -> Iterator[Callable[..., Exim]]:
    """Start an Exim that delivers what it takes: call it with the arguments of `Exim`."""
    with _starting(Exim) as start:
        yield start


@pytest.fixture
def dovecot() -> Iterator[Callable[..., Dovecot]]:
    """Start a Dovecot that takes mail by LMTP: call it with the arguments of `Dovecot`."""
    with _starting(Dovecot) as start:
        yield start


@pytest.fixture
def smtp_sink() -> Iterator[SmtpSink]:
    """An SMTP server that keeps what it was told."""
    with _starting(SmtpSink) as start:
        yield start()


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory that any user may enter, unlike `tmp_path`: for a unix socket that Postfix delivers to."""
    directory = Path(tempfile.mkdtemp(prefix="mailsluice-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture(scope="session")
def swaks() -> Path:
    """Where the SMTP client swaks is."""
    with _or_skip():
        return find_program("swaks")


@pytest.fixture(scope="session")
def curl() -> Path:
    """Where the program curl is."""
    with _or_skip():
        return find_program("curl")
