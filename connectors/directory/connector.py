"""The directory connector: threads that write, because a file system knows no other way to wait.

For each mail there is one fsync per file and one for the day's directory, no fewer than its promise takes. A file is
synced before it gets its name, so that a name never shows half a file; the directory is synced once, after all the
names. A crash before that leaves nothing that counts as a mail, or a whole mail that the client was told nothing of.
"""

import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile

from connectors.directory import failures, files
from connectors.directory.settings import DirectorySettings
from gateway.codec import bmtd, json_v1
from gateway.connector import Mail, Receipt
from gateway.threads import in_thread

__all__ = ["DirectoryConnector"]


class DirectoryConnector:
    """Keeps mails below one directory, which other processes may fill too: names are made, never replaced."""

    # One thread each. The journal of a file system syncs many mails at once, when they come at once.
    MAX_IN_FLIGHT = 16

    def __init__(self, settings: DirectorySettings) -> None:
        self._name = settings.name
        self._root = settings.path.absolute()
        self._threads = ThreadPoolExecutor(self.MAX_IN_FLIGHT, thread_name_prefix=settings.name)
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

    async def close(self) -> None:
        """Let the threads go. One that hangs in the file system is not waited for."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _prepare(self, _abandoned: threading.Event) -> None:
        try:
            for directory in (*reversed(self._root.parents), self._root):
                if not directory.exists():
                    files.make_directory(directory)
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
        contents: dict[str, Iterable[bytes]] = {".eml": mail.content.blocks()}
        if envelope.metadata.containers:
            contents[".bmtd"] = [bmtd.encode(envelope.metadata.containers)]
        contents[".json"] = [json_v1.encode(envelope)]
        made: list[Path] = []
        try:
            self._make_day(day)
            for suffix, blocks in contents.items():
                path = day / (envelope.id + suffix)
                if files.store(path, _until(abandoned, blocks)):
                    made.append(path)
            files.sync_directory(day)
        except OSError as error:
            # The next attempt has to make and sync all of this anew; without the .json the rest is no mail.
            self._days.discard(day)
            for path in reversed(made):
                with suppress(OSError):
                    path.unlink()
            # An earlier attempt may have made the .json, or the file system may not let it go; or it is another mail's.
            is_left = not isinstance(error, FileExistsError) and files.may_exist(day / f"{envelope.id}.json")
            raise failures.from_os_error(error, possibly_stored=is_left) from error
        return f"{name}.eml"

    def _make_day(self, day: Path) -> None:
        if day not in self._days:
            for directory in (day.parent.parent, day.parent, day):
                files.make_directory(directory)
            self._days.add(day)


def _until(abandoned: threading.Event, blocks: Iterable[bytes]) -> Iterator[bytes]:
    for block in blocks:
        if abandoned.is_set():
            raise InterruptedError("the delivery was cancelled")
        yield block
