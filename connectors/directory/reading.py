"""An archive read again: every mail that has its `.json` file, and single contents to which other connectors refer."""

import re
from collections.abc import AsyncGenerator, Callable
from functools import partial
from itertools import islice
from pathlib import Path

from connectors.directory.settings import DirectorySettings
from gateway import archive
from gateway.codec import CodecError
from gateway.connector import Extent, Fetch, Found, Mail, SourceError
from gateway.envelope import Content, ContentReference, Envelope, ulid
from gateway.threads import in_thread

__all__ = ["DirectorySource"]

# The way into a thread and back takes longer than to list a mail.
_AT_ONCE = 1000
# What the connector's receipts say.
_OWN_PATH = re.compile(rf"[0-9]{{4}}/[0-9]{{2}}/[0-9]{{2}}/{ulid.PATTERN}\.eml")


class DirectorySource:
    """Reads the archive of the settings; a mail that is being written now is there or not."""

    def __init__(self, settings: DirectorySettings) -> None:
        self._root = settings.path.absolute()

    async def mails(self, extent: Extent, _: Fetch) -> AsyncGenerator[Found]:
        """By day and id. Raises SourceError where the archive cannot be listed."""
        first, last = (time[:10].replace("-", "/") for time in (extent.since, extent.until))
        markers = archive.mails(self._root)
        while True:
            try:
                some = await in_thread(lambda _: list(islice(markers, _AT_ONCE)))
            except OSError as error:
                raise SourceError(f"{error.filename or self._root} cannot be read: {error.strerror}") from error
            if not some:
                return
            for marker in some:
                place = str(marker.relative_to(self._root))
                day = place[: len("2026/11/21")]
                if (not first or first <= day) and (not last or day <= last):
                    yield Found(place=place, id=marker.stem, read=partial(_read, marker))

    async def content(self, reference: ContentReference) -> Content:
        path = str(reference.location.get("path", ""))
        # A reference comes out of a record that somebody else may have written.
        if not _OWN_PATH.fullmatch(path):
            raise SourceError(f"the reference {path!r} names no content of the archive {self._root}")
        place = self._root / path
        try:
            return await in_thread(lambda _: Content(file=archive.open_file(place)))
        except OSError as error:
            raise SourceError(f"the content {place} cannot be read: {error.strerror}") from error

    async def close(self) -> None:
        """Nothing is open between calls."""


async def _read(marker: Path, is_wanted: Callable[[Envelope], bool]) -> Mail | None:
    return await in_thread(lambda _: _read_now(marker, is_wanted))


def _read_now(marker: Path, is_wanted: Callable[[Envelope], bool]) -> Mail | None:
    try:
        envelope = archive.read_envelope(marker)
        if not is_wanted(envelope):
            return None
        if problem := archive.containers_problem(marker, envelope):
            raise SourceError(problem)
        return Mail(envelope, Content(file=archive.open_file(archive.content_path(marker, envelope))))
    except CodecError as error:
        raise SourceError(f"the envelope cannot be read: {error}") from error
    except OSError as error:
        raise SourceError(f"{error.filename or marker} cannot be read: {error.strerror}") from error
