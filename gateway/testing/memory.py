"""A connector that keeps mails in memory and fails when told to: the test double for whatever stands above one."""

import asyncio

from gateway.connector import PermanentFailure, Receipt, Refused, TransientFailure
from gateway.envelope import Content, Mail
from gateway.status import LOCAL_ERROR

__all__ = ["MemoryConnector"]


class MemoryConnector:
    """Holds every mail that it was given in `mails`, by id, with the recipients for whom it took it last.

    While `failure` is set, `emit` raises it; the recipients in `refused`, by address, are refused with theirs. Between
    `hold()` and `release()` an emit waits; `entered` counts one up for each emit that began, so that a test can wait
    for it: `await connector.entered.acquire()`.
    """

    def __init__(self, name: str = "memory") -> None:
        self.name = name
        self.mails: dict[str, Mail] = {}
        self.failure: Exception | None = None
        self.refused: dict[str, TransientFailure | PermanentFailure] = {}
        self.entered = asyncio.Semaphore(0)
        self.in_flight = 0
        self.peak_in_flight = 0
        self._released = asyncio.Event()
        self._released.set()

    def hold(self) -> None:
        """Let every emit wait from now on."""
        self._released.clear()

    def release(self) -> None:
        """Let the waiting emits go on, and the later ones."""
        self._released.set()

    async def open(self) -> None:
        """Nothing to open."""

    async def emit(self, mail: Mail) -> Receipt:
        """Keep a copy of `mail`; the content it came with may be gone after this call."""
        self.in_flight += 1
        self.peak_in_flight = max(self.peak_in_flight, self.in_flight)
        self.entered.release()
        try:
            await self._released.wait()
        finally:
            self.in_flight -= 1
        if self.failure is not None:
            raise self.failure
        try:
            octets = mail.content.read()
        except OSError as exc:
            raise TransientFailure(LOCAL_ERROR, "the content could not be read", cause=str(exc)) from exc
        refused = self._refused(mail)
        places = {each.position for each in refused}
        taken = [place for place in range(len(mail.envelope.envelope.recipients)) if place not in places]
        if refused and not taken:
            # One that may yet be taken is not to be given up because of another that never will be.
            raise min((each.failure for each in refused), key=lambda failure: isinstance(failure, PermanentFailure))
        self.mails[mail.envelope.id] = Mail(mail.envelope, Content(octets)).for_recipients(taken)
        location: dict[str, str | int] = {"key": mail.envelope.id}
        return Receipt(id=mail.envelope.id, connector=self.name, type="memory", location=location, refused=refused)

    def _refused(self, mail: Mail) -> tuple[Refused, ...]:
        addresses = [recipient.address.raw for recipient in mail.envelope.envelope.recipients]
        return tuple(
            Refused(position=place, failure=self.refused[address])
            for place, address in enumerate(addresses)
            if address in self.refused
        )

    async def close(self) -> None:
        """Let go of the emits that wait; the mails stay to be looked at."""
        self.release()
