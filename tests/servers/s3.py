"""A real S3 server on loopback: versitygw over a directory, with versioning and object lock.

It checks signatures, checksums, conditional writes and retention, which is what the tests need a real server for. It
has no server-side encryption.
"""

import secrets
import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import boto3
import botocore.config
import botocore.exceptions

from tests.servers.cache import CACHE, exclusive
from tests.servers.ports import LOOPBACK, accepts, free_port
from tests.servers.processes import ServerProcess, StartFailed, Unavailable, make_directory, run_tool

_VERSION = "v1.7.0"
_BINARY = CACHE / "bin" / f"versitygw-{_VERSION}"
_START_SECONDS = 30.0


def install() -> None:
    """Have versitygw in the cache; do nothing if this version is there. Raises `Unavailable`."""
    with exclusive():
        if _BINARY.exists():
            return
        go = shutil.which("go")
        if go is None:
            raise Unavailable("the S3 server versitygw cannot be installed: Go is not here")
        with tempfile.TemporaryDirectory(dir=CACHE) as unfinished:
            try:
                run_tool(
                    [go, "install", f"github.com/versity/versitygw/cmd/versitygw@{_VERSION}"],
                    seconds=1200,
                    # Outside the checkout, whose own modules, if it had any, would decide the versions.
                    environment={"GOBIN": unfinished, "GOWORK": "off"},
                )
            except StartFailed as failure:
                raise Unavailable(f"the S3 server versitygw cannot be installed: {failure}") from failure
            _BINARY.parent.mkdir(exist_ok=True)
            (Path(unfinished) / "versitygw").replace(_BINARY)


class S3Server:
    """An S3 server with its objects in a temporary directory.

    Entering it starts it, leaving it kills it and removes the objects. `start()` brings it back after `stop()` or
    `kill()`, at the same port and with the same objects.
    """

    region = "us-east-1"

    def __init__(self) -> None:
        if not _BINARY.exists():
            raise Unavailable("the S3 server is not installed: run `python -m tests.servers.install`")
        self._port = free_port()
        self.endpoint_url = f"http://{LOOPBACK}:{self._port}"
        self.access_key = "mailsluice"
        self.secret_key = secrets.token_hex(16)
        self._clients: list[Any] = []
        self._directory = make_directory("s3")
        for part in ("objects", "versions", "sidecar", "accounts"):
            (self._directory / part).mkdir()
        self._process = ServerProcess(
            "S3 server versitygw",
            [
                # As S3 does, it keeps connections, so that a test meets stale ones too.
                *(_BINARY, "--quiet", "--keep-alive", "--port", f"{LOOPBACK}:{self._port}", "--region", self.region),
                *("--iam-dir", self._directory / "accounts"),
                "posix",
                *("--versioning-dir", self._directory / "versions"),
                # Metadata beside the objects, not in extended attributes, which a temporary directory may not have.
                *("--sidecar", self._directory / "sidecar"),
                self._directory / "objects",
            ],
            log=self._directory / "log",
            environment={"ROOT_ACCESS_KEY": self.access_key, "ROOT_SECRET_KEY": self.secret_key},
        )

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._close()

    def client(self, **options: Any) -> Any:
        """Return a new boto3 client for this server, which the server closes at its own end.

        It retries nothing, so that a test sees the first answer; `options` go to `botocore.config.Config`.
        """
        config = botocore.config.Config(
            s3={"addressing_style": "path"},
            retries={"total_max_attempts": 1},
            connect_timeout=5,
            read_timeout=20,
        ).merge(botocore.config.Config(**options))
        # A session each: the default one is not made for several threads.
        client = boto3.session.Session().client(
            "s3",
            endpoint_url=self.endpoint_url,
            region_name=self.region,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            config=config,
        )
        self._clients.append(client)
        return client

    def create_bucket(self, *, versioning: bool = False, object_lock: bool = False) -> str:
        """Create a bucket and return its name, which no other has. Object lock brings versioning with it."""
        name = f"bucket-{secrets.token_hex(6)}"
        client = self.client()
        client.create_bucket(Bucket=name, ObjectLockEnabledForBucket=object_lock)
        if versioning or object_lock:
            client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
        return name

    def start(self) -> None:
        """Start it and return once it has answered a signed request."""
        self._process.start(self._answers, _START_SECONDS)

    def stop(self) -> None:
        """Shut it down in order."""
        self._process.stop()

    def kill(self) -> None:
        """End it as a crash would."""
        self._process.kill()

    def pause(self) -> None:
        """Freeze it: connections are accepted and nothing is answered."""
        self._process.pause()

    def resume(self) -> None:
        """Let it go on after `pause()`."""
        self._process.resume()

    def _answers(self) -> bool:
        if not accepts(self._port):
            return False
        try:
            self.client().list_buckets()
        except botocore.exceptions.EndpointConnectionError:
            return False
        return True

    def _close(self) -> None:
        self._process.kill()
        for client in self._clients:
            client.close()
        shutil.rmtree(self._directory, ignore_errors=True)
