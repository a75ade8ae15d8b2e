"""The directory connector: threads that write, because a file system knows no other way to wait.

For each mail there is one fsync per file and one for the day's directory, no fewer than its promise takes. A file is
synced before it gets its name, so that a name never shows half a file; the directory is synced once, after all the
names. A crash before that leaves nothing that counts as a mail, or a whole mail that the client was told nothing of.
"""

import re
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile

from connectors.directory import failures, files, shared
from connectors.directory.settings import DirectorySettings
from gateway.codec import bmtd, json_v1
from gateway.collection import Collected
from gateway.connector import Mail, Receipt
from gateway.envelope import ulid
from gateway.threads import in_thread

__all__ = ["DirectoryConnector"]

_KEY = re.compile(rf"([0-9]{{4}}/[0-9]{{2}}/[0-9]{{2}}/{ulid.PATTERN})(?:\.(?:eml|bmtd|json))?")


class DirectoryConnector:
    """Keeps mails below one directory, which other processes may fill too: names are made, never replaced."""

    # One thread each. The journal of a file system syncs many mails at once, when they come at once.
    MAX_IN_FLIGHT = 16

    def __init__(self, settings: DirectorySettings) -> None:
        self._name = settings.name
        self._root = settings.path.absolute()
        self._is_shared = settings.single_instance
        self._threads = ThreadPoolExecutor(self.MAX_IN_FLIGHT, thread_name_prefix=settings.name)
        # Its name, and those above it, are on stable storage.
        self._synced: Path | None = None
        self._days: set[Path] = set()

    async def open(self) -> None:
        """Make the directory where there is none, and try to write there. Raises PermanentFailure."""
        await in_thread(self._prepare, self._threads)

    async def emit(self, mail: Mail) -> Receipt:
        """Store `mail`; the same mail again under the same id is the same files. Raises TransientFailure.

        Cancelled, it ends when its thread does, which is after the block that is being written.
        """
        path = await in_thread(partial(self._store, mail), self._threads)
        return Receipt(id=mail.envelope.id, connector=self._name, type="directory", location={"path": path})

    async def remove(self, key: str) -> bool:
        """Remove the mail at `YYYY/MM/DD/<id>` (`gateway.collection.CollectingConnector`)."""
        if not (match := _KEY.fullmatch(key)):
            raise ValueError(f"{key} is no mail of an archive: give it as YYYY/MM/DD/<id>")
        return await in_thread(partial(self._remove, self._root / f"{match[1]}.json"), self._threads)

    async def collect(self, *, unused_seconds: float) -> Collected:
        """Remove shared files that no mail has a name for (`gateway.collection.CollectingConnector`)."""
        return await in_thread(partial(self._collect, unused_seconds), self._threads)

    async def close(self) -> None:
        """Let the threads go. One that hangs in the file system is not waited for."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _prepare(self, _abandoned: threading.Event) -> None:
        try:
            files.make_directory(self._root)
            self._synced = self._root
            with TemporaryFile(dir=self._root):
                pass
        except OSError as error:
            # A full disk is no reason not to start: each mail is told.
            if not failures.is_full(error):
                raise failures.unusable(self._root, error) from error

    def _store(self, mail: Mail, abandoned: threading.Event) -> str:
        envelope = mail.envelope
        name = f"{envelope.received_at[:10].replace('-', '/')}/{envelope.id}"
        day = (self._root / name).parent
        parts: dict[str, bytes] = {}
        if envelope.metadata.containers:
            parts[".bmtd"] = bmtd.encode(envelope.metadata.containers)
        parts[".json"] = json_v1.encode(envelope)
        made: list[Path] = []
        try:
            self._make_day(day)
            path = day / f"{envelope.id}.eml"
            if self._store_content(path, mail, abandoned):
                made.append(path)
            for suffix, octets in parts.items():
                path = day / (envelope.id + suffix)
                if files.store(path, _until(abandoned, [octets])):
                    made.append(path)
            files.sync_directory(day)
        except OSError as error:
            # The next attempt has to make and sync all of this anew. Without the .json the rest is no mail, and with it
            # the rest has to stay.
            self._days.discard(day)
            with suppress(OSError):
                for path in reversed(made):
                    path.unlink()
            # An earlier attempt may have made the .json, or the file system may not let it go; or it is another mail's.
            is_left = not isinstance(error, FileExistsError) and files.may_exist(day / f"{envelope.id}.json")
            raise failures.from_os_error(error, possibly_stored=is_left) from error
        return f"{name}.eml"

    def _store_content(self, path: Path, mail: Mail, abandoned: threading.Event) -> bool:
        if not self._is_shared:
            return files.store(path, _until(abandoned, mail.content.blocks()))
        message = mail.envelope.message
        sha256 = (message.flattened or message).sha256
        return shared.store(self._root, path, lambda: _until(abandoned, mail.content.blocks()), sha256)

    def _remove(self, path: Path, _abandoned: threading.Event) -> bool:
        try:
            was_there = path.with_suffix(".json").exists()
            # Without its envelope it is no mail any more, and what a crash leaves of it is no damage.
            for suffix in (".json", ".bmtd", ".eml"):
                path.with_suffix(suffix).unlink(missing_ok=True)
            if was_there:
                files.sync_directory(path.parent)
        except OSError as error:
            raise failures.from_os_error(error, possibly_stored=True) from error
        return was_there

    def _collect(self, unused_seconds: float, _abandoned: threading.Event) -> Collected:
        try:
            return shared.collect(self._root, unused_seconds=unused_seconds)
        except OSError as error:
            raise failures.from_os_error(error, possibly_stored=False) from error

    def _make_day(self, day: Path) -> None:
        if day not in self._days:
            files.make_directory(day, within=self._synced)
            self._days.add(day)


def _until(abandoned: threading.Event, blocks: Iterable[bytes]) -> Iterator[bytes]:
    for block in blocks:
        if abandoned.is_set():
            raise InterruptedError("the delivery was cancelled")
        yield block
