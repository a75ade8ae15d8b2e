"""Reading and verifying an archive: the tree of files that the directory connector writes.

    2026/11/21/<id>.eml  .bmtd  .json
    content/ab/<sha256>.eml             where mails of the same content share it

A mail is what has a `.json`; other files without one are leftovers of a delivery that nobody was told had succeeded.
Mails come in the order of their ids, which is that of time. A day's names are held in memory at once (some 250 octets
a mail), its mails never.

A directory has every mail's content under its own name as well, as another link to the same file. The copy of a bucket
has not: there the envelope refers to the shared one.
"""

import errno
import hashlib
import io
import os
import re
import stat
from collections.abc import Iterator
from enum import StrEnum
from itertools import groupby
from pathlib import Path

from msgspec import Struct, structs

from gateway.codec import CodecError, bmtd, json_v1
from gateway.envelope import BLOCK, Content, Envelope, Mail, shared_content_key, ulid

__all__ = [
    "Finding",
    "Verdict",
    "containers_problem",
    "content_path",
    "mails",
    "open_file",
    "read",
    "read_envelope",
    "verify",
]

_LEVELS = (re.compile("[0-9]{4}"), re.compile("[0-9]{2}"), re.compile("[0-9]{2}"))
_FILE = re.compile(rf"({ulid.PATTERN})\.(?:eml|bmtd|json)")
_SHARED = "content"
# A damaged file may have any size; metadata containers, which are the most of a large envelope, are far below this.
_MAXIMUM_ENVELOPE = 256 * 1024 * 1024


class Verdict(StrEnum):
    """What holds for a mail, or for a file that belongs to none."""

    INTACT = "intact"
    DAMAGED = "damaged"
    STRAY = "stray"


class Finding(Struct, frozen=True, kw_only=True):
    """What `verify` found at `path`, which is relative to the archive: the `.json` of a mail, or a stray file.

    `problems` are sentences without a full stop, none for a mail that is intact. `size` counts the content's octets
    that were read.
    """

    path: str
    verdict: Verdict
    problems: tuple[str, ...] = ()
    size: int = 0


def mails(root: Path) -> Iterator[Path]:
    """The `.json` file of every mail in the archive, oldest first. Raises OSError where it cannot be listed."""
    for folder, names in _groups(root):
        yield from (folder / name for name in names if _is_marker(name))


def read(marker: Path) -> Mail:
    """The mail whose `.json` file is `marker`; its content is the open `.eml` file, for the caller to close.

    Raises CodecError where the envelope cannot be decoded, OSError where a file cannot be read. Does not verify.
    """
    envelope = read_envelope(marker)
    content = Content(file=open_file(content_path(marker, envelope)))
    # From here on the content is at hand, wherever it was.
    message = structs.replace(envelope.message, reference=None)
    return Mail(structs.replace(envelope, message=message), content)


def read_envelope(marker: Path) -> Envelope:
    """The envelope in the `.json` file of a mail. Raises CodecError and OSError."""
    with open_file(marker) as file:
        if os.fstat(file.fileno()).st_size > _MAXIMUM_ENVELOPE:
            raise CodecError(f"it has more than {_MAXIMUM_ENVELOPE} octets")
        return json_v1.decode(file.read())


def open_file(path: Path) -> io.FileIO:
    """A file of an archive, to be read. Raises OSError, also for what is no file: a pipe or a device has no end."""
    # Opening a pipe would wait for its other side.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    file = io.FileIO(descriptor)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    return file


def content_path(marker: Path, envelope: Envelope) -> Path:
    """Where the content of that mail is: beside its envelope, or in the archive's shared contents."""
    path = marker.with_suffix(".eml")
    if envelope.message.reference is None or path.exists():
        return path
    return marker.parents[len(_LEVELS)] / shared_content_key((envelope.message.flattened or envelope.message).sha256)


def containers_problem(marker: Path, envelope: Envelope) -> str:
    """Why the `.bmtd` file of a mail has not the containers of its envelope, in a clause; "" where it has them."""
    expected = bmtd.encode(envelope.metadata.containers)
    try:
        with open_file(marker.with_suffix(".bmtd")) as file:
            found = file.read(len(expected) + 1)
    except FileNotFoundError:
        return "the metadata containers are missing: there is no .bmtd file" if expected else ""
    except OSError as error:
        return f"the metadata containers cannot be read: {_reason(error)}"
    if not expected:
        return "there is a .bmtd file, but the envelope has no metadata containers"
    return "" if found == expected else "the metadata containers in the .bmtd file are not those of the envelope"


def verify(root: Path) -> Iterator[Finding]:
    """Check every mail: whether the envelope decodes and lies in its place, and content and containers are as it says.

    One finding for each mail, for each stray file, and for each shared content that is damaged, in order. Raises
    OSError where the archive cannot be listed.
    """
    for folder, names in _groups(root):
        if any(map(_is_marker, names)):
            yield _check(root, folder, names)
        elif names == [_SHARED] and folder == root and (root / _SHARED).is_dir():
            yield from _check_shared(root)
        else:
            for name in names:
                problem = (
                    "no envelope says that this was accepted: its delivery was interrupted, or is under way"
                    if _FILE.search(name)
                    else "this is no part of an archive"
                )
                path = str((folder / name).relative_to(root))
                yield Finding(path=path, verdict=Verdict.STRAY, problems=(problem,))


def _groups(folder: Path, levels: tuple[re.Pattern[str], ...] = _LEVELS) -> Iterator[tuple[Path, list[str]]]:
    """The names that belong together, with their folder, in order."""
    names = sorted(os.listdir(folder))  # noqa: PTH208  # a day may have millions: names take a tenth of paths
    if not levels:
        yield from ((folder, list(group)) for _, group in groupby(names, _stem))
        return
    for name in names:
        path = folder / name
        if levels[0].fullmatch(name) and path.is_dir():
            yield from _groups(path, levels[1:])
        else:
            yield folder, [name]


def _stem(name: str) -> str:
    match = _FILE.fullmatch(name)
    return match[1] if match else name


def _is_marker(name: str) -> bool:
    return name.endswith(".json") and _FILE.fullmatch(name) is not None


def _check(root: Path, folder: Path, names: list[str]) -> Finding:
    (marker,) = (folder / name for name in names if _is_marker(name))
    path = str(marker.relative_to(root))
    try:
        envelope = read_envelope(marker)
    except (OSError, CodecError) as error:
        return Finding(path=path, verdict=Verdict.DAMAGED, problems=(f"the envelope cannot be read: {_reason(error)}",))
    size, content_problems = _check_content(content_path(marker, envelope), envelope)
    containers = containers_problem(marker, envelope)
    problems = (*_check_place(path, envelope), *content_problems, *((containers,) if containers else ()))
    return Finding(path=path, verdict=Verdict.DAMAGED if problems else Verdict.INTACT, problems=problems, size=size)


def _check_shared(root: Path) -> Iterator[Finding]:
    for folder in sorted((root / _SHARED).iterdir()):
        for path in sorted(folder.glob("*.eml")):
            # What a mail has a link to is checked as that mail's.
            if path.stat().st_nlink == 1 and (problem := _shared_problem(path)):
                yield Finding(path=str(path.relative_to(root)), verdict=Verdict.DAMAGED, problems=(problem,))


def _shared_problem(path: Path) -> str:
    try:
        _, sha256 = _digest(path)
    except OSError as error:
        return f"the shared content cannot be read: {_reason(error)}"
    return "" if sha256 == path.stem else f"the shared content was changed: its SHA-256 is {sha256}"


def _check_place(path: str, envelope: Envelope) -> Iterator[str]:
    place = f"{envelope.received_at[:10].replace('-', '/')}/{envelope.id}.json"
    if path != place:
        yield f"by its envelope the mail belongs at {place}"


def _check_content(path: Path, envelope: Envelope) -> tuple[int, tuple[str, ...]]:
    expected = envelope.message.flattened or envelope.message
    try:
        size, sha256 = _digest(path)
    except OSError as error:
        return 0, (f"the content cannot be read: {_reason(error)}",)
    if size != expected.size:
        return size, (f"the content has {size} octets instead of {expected.size}",)
    if sha256 != expected.sha256:
        return size, (f"the content was changed: its SHA-256 is {sha256} instead of {expected.sha256}",)
    return size, ()


def _digest(path: Path) -> tuple[int, str]:
    digest = hashlib.sha256()
    size = 0
    with open_file(path) as file:
        while block := file.read(BLOCK):
            digest.update(block)
            size += len(block)
    return size, digest.hexdigest()


def _reason(error: OSError | CodecError) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
