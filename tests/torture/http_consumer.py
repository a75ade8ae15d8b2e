"""An HTTP consumer that writes each mail down before it answers: `python -m tests.torture.http_consumer PORT FOLDER`.

It takes the connector's `raw` format. What is posted to `/name` goes to the journal `name.journal` of the folder. A
line of it is a `tests.torture.journal.Delivered`; it is in the kernel's hands before the gateway reads 202, so that it
outlives this process, too.
"""

import asyncio
import base64
import hashlib
import sys
import time
from pathlib import Path
from urllib.parse import unquote

import msgspec
import uvicorn

from tests.servers.ports import LOOPBACK
from tests.torture.journal import Delivered, metadata_digest


class Consumer:
    """The ASGI application."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def __call__(self, scope, receive, send) -> None:
        digest = hashlib.sha256()
        while True:
            event = await receive()
            if event["type"] != "http.request":
                return  # the gateway was killed in the middle
            digest.update(event.get("body", b""))
            if not event.get("more_body"):
                break
        headers = {name.decode("ascii"): value.decode("ascii") for name, value in scope["headers"]}
        with (self._folder / f"{scope['path'].strip('/')}.journal").open("ab", buffering=0) as journal:
            journal.write(msgspec.json.encode(_delivered(headers, digest.hexdigest())) + b"\n")
        await send({"type": "http.response.start", "status": 202, "headers": []})
        await send({"type": "http.response.body", "body": b""})


def _delivered(headers: dict[str, str], sha256: str) -> Delivered:
    # No address of the bench has a comma or a space in it. The first container is the gateway's own trace.
    containers = sorted(name for name in headers if name.startswith("bmtd-"))[1:]
    return Delivered(
        marker=_address(headers["mail-from"]).partition("@")[0],
        mail_id=headers["mail-id"],
        sha256=sha256,
        recipients=tuple(map(_address, headers["mail-rcpt"].split(","))),
        metadata_sha256=metadata_digest(base64.b64decode(headers[name]) for name in containers),
        at=time.time(),
    )


def _address(path: str) -> str:
    return unquote(path).strip().partition(" ")[0].removeprefix("<").removesuffix(">")


async def _serve(port: int, folder: Path) -> None:
    config = uvicorn.Config(Consumer(folder), host=LOOPBACK, port=port, log_level="warning", lifespan="off")
    await uvicorn.Server(config).serve()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), Path(sys.argv[2])))
