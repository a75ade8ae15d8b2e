"""An archive read again: every mail that has its `.json` file, and single contents to which other connectors refer."""

import io
from collections.abc import AsyncGenerator, Callable
from functools import partial
from pathlib import Path

from connectors.directory.settings import DirectorySettings
from gateway import archive
from gateway.codec import CodecError, bmtd
from gateway.connector import Extent, Fetch, Found, Mail, SourceError
from gateway.envelope import Content, ContentReference, Envelope
from gateway.threads import in_thread

__all__ = ["DirectorySource"]


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
                marker = await in_thread(lambda _: next(markers, None))
            except OSError as error:
                raise SourceError(f"{error.filename or self._root} cannot be read: {error.strerror}") from error
            if marker is None:
                return
            place = str(marker.relative_to(self._root))
            day = place[: len("2026/11/21")]
            if (not first or first <= day) and (not last or day <= last):
                yield Found(place=place, id=marker.stem, read=partial(_read, marker))

    async def content(self, reference: ContentReference) -> Content:
        path = str(reference.location.get("path", ""))
        place = (self._root / path).resolve()
        # A reference comes out of a record that somebody else may have written.
        if not path.endswith(".eml") or not place.is_relative_to(self._root.resolve()):
            raise SourceError(f"the reference {path!r} names no content of the archive {self._root}")
        try:
            return await in_thread(lambda _: Content(file=io.FileIO(place)))
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
        _check_containers(marker, envelope)
        return Mail(envelope, Content(file=io.FileIO(archive.content_path(marker, envelope))))
    except CodecError as error:
        raise SourceError(f"the envelope cannot be read: {error}") from error
    except OSError as error:
        raise SourceError(f"{error.filename or marker} cannot be read: {error.strerror}") from error


def _check_containers(marker: Path, envelope: Envelope) -> None:
    expected = bmtd.encode(envelope.metadata.containers)
    if expected and marker.with_suffix(".bmtd").read_bytes() != expected:
        raise SourceError("the metadata containers in the .bmtd file are not those of the envelope")
