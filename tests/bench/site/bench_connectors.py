"""Two connectors for the benchmark, installed as a third party's would be.

`count` takes every mail and keeps none: what is measured with it is the gateway alone. `lag` takes none: it watches the
event loop in which it lives, and writes down how much later than asked it was woken.
"""

import asyncio
import os
import struct
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import Field

from gateway.connector import Connector, ConnectorSettings, ConnectorType, Mail, PermanentFailure, Receipt
from gateway.status import ADMINISTRATIVE_REFUSAL

PERIOD_SECONDS = 0.01
# When it was woken (`time.monotonic`), and how much too late, in seconds.
SAMPLE = struct.Struct("<dd")


class Count:
    """Its receipts say how many mails there were."""

    def __init__(self, settings: ConnectorSettings, _references: Mapping[str, Connector]) -> None:
        self._settings = settings
        self._mails = 0

    async def open(self) -> None:
        pass

    async def emit(self, mail: Mail) -> Receipt:
        self._mails += 1
        return Receipt(
            id=mail.envelope.id,
            connector=self._settings.name,
            type=self._settings.type,
            location={"count": self._mails},
        )

    async def close(self) -> None:
        pass


class LagSettings(ConnectorSettings):
    directory: Annotated[Path, Field(description="Where each process writes a file of its samples.")]


class Lag:
    """Writes a sample each hundredth of a second."""

    def __init__(self, settings: LagSettings, _references: Mapping[str, Connector]) -> None:
        self._directory = settings.directory
        self._watch: asyncio.Task[None] | None = None

    async def open(self) -> None:
        self._watch = asyncio.create_task(self._samples())

    async def emit(self, mail: Mail) -> Receipt:
        raise PermanentFailure(ADMINISTRATIVE_REFUSAL, "no mail goes here")

    async def close(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)

    async def _samples(self) -> None:
        with (self._directory / f"lag-{os.getpid()}").open("wb", buffering=0) as file:
            while True:
                asked = time.monotonic()
                await asyncio.sleep(PERIOD_SECONDS)
                now = time.monotonic()
                file.write(SAMPLE.pack(now, now - asked - PERIOD_SECONDS))


COUNT = ConnectorType(
    name="count",
    summary="Takes every mail and keeps none.",
    stability="experimental",
    settings=ConnectorSettings,
    build=Count,
    max_in_flight=4096,
)
LAG = ConnectorType(
    name="lag",
    summary="Watches the event loop.",
    stability="experimental",
    settings=LagSettings,
    build=Lag,
    max_in_flight=1,
)
