"""What a disk may hold after a power failure: images, built from a record of what a program did to its files.

    for disk in states(log, root, cuts):      # as it stood when the log was so long
        disk.write_image(target, random)      # one of the many things that may be left of it

Everything that was synced is there. Of what was written to a file after its last sync there is nothing, a beginning, or
any of its blocks of 4 KiB. A name that was made, changed or removed without a later sync of its directory is as before,
or as it became: for all names, up to some moment, or each for itself. That is more than any file system in use does to
its owner, and what POSIX allows; the exception is that a file that is synced does not bring its own name along.
"""

import random
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Self

from tests.torture.operations import Kind, Operation, operations

__all__ = ["Disk", "states"]

_BLOCK = 4096


class File:
    """A file's octets: those that are synced, and what was done to them since."""

    __slots__ = ("pending", "synced")

    def __init__(self) -> None:
        self.synced = bytearray()
        self.pending: list[Operation] = []

    def sync(self) -> None:
        _apply(self.synced, self.pending)
        self.pending.clear()

    def fail_to_sync(self) -> None:
        """Forget what was not synced: after a failure Linux takes it for written, and never tries again."""
        self.pending.clear()

    def survivor(self, chance: random.Random) -> bytes:
        """What may be left of it."""
        after = bytearray(self.synced)
        match chance.randrange(4):
            case 0:
                pass
            case 1:
                _apply(after, self.pending[: chance.randint(0, len(self.pending))])
            case 2:
                whole = self.pending[: chance.randint(0, len(self.pending))]
                _apply(after, whole)
                rest = self.pending[len(whole) : len(whole) + 1]
                _apply(after, rest, part=chance.random())
            case 3:
                _apply(after, self.pending)
                before = bytes(self.synced).ljust(len(after), b"\0")
                for start in range(0, len(after), _BLOCK):
                    if chance.random() < 1 / 2:
                        after[start : start + _BLOCK] = before[start : min(start + _BLOCK, len(after))]
        return bytes(after)


class Directory:
    """A directory's names: those that are synced, and the changes since, which are pairs of name and what it is of."""

    __slots__ = ("pending", "synced")

    def __init__(self) -> None:
        self.synced: dict[str, File | Directory] = {}
        self.pending: list[dict[str, File | Directory | None]] = []

    def sync(self) -> None:
        self.synced = _changed(self.synced, self.pending)
        self.pending.clear()

    def survivors(self, chance: random.Random) -> "dict[str, File | Directory]":
        """The names that may be left."""
        match chance.randrange(3):
            case 0:
                return self.synced
            case 1:
                return _changed(self.synced, self.pending[: chance.randint(0, len(self.pending))])
            case _:
                return _changed(self.synced, [each for each in self.pending if chance.random() < 1 / 2])

    def write(self, target: Path, chance: random.Random) -> None:
        """Write what may be left of it, and of all that lies below, into an empty directory."""
        for name, of in self.survivors(chance).items():
            if isinstance(of, Directory):
                (target / name).mkdir()
                of.write(target / name, chance)
            else:
                (target / name).write_bytes(of.survivor(chance))


class Disk:
    """The tree below one directory, which was empty, or as it stood on stable storage when the record began."""

    def __init__(self, root: Path) -> None:
        self._root = PurePosixPath(root)
        self._tree = Directory()
        self._inodes: dict[int, File | Directory] = {root.stat().st_ino: self._tree}

    def write_image(self, target: Path, chance: random.Random) -> None:
        """Write one of the images that a power failure now may leave into the empty directory `target`."""
        self._tree.write(target, chance)

    def follow(self, operation: Operation) -> Self:
        """Take the next operation into account."""
        match operation.kind:
            case Kind.CREATE | Kind.MAKE_DIRECTORY:
                made = File() if operation.kind is Kind.CREATE else Directory()
                # A number that was another file's, which is gone.
                self._inodes[operation.inode] = made
                if operation.path:
                    self._rename({operation.path: made})
            case Kind.WRITE | Kind.TRUNCATE:
                self._file(operation).pending.append(operation)
            case Kind.SYNC:
                if operation.inode in self._inodes:
                    self._inodes[operation.inode].sync()
            case Kind.SYNC_FAILED:
                if isinstance(failed := self._inodes.get(operation.inode), File):
                    failed.fail_to_sync()
            case Kind.LINK:
                self._rename({operation.path: self._file(operation)})
            case Kind.UNLINK:
                self._rename({operation.path: None})
            case Kind.RENAME:
                self._rename({operation.path: None, operation.other: self._inodes[operation.inode]})
        return self

    def _file(self, operation: Operation) -> File:
        if isinstance(found := self._inodes.get(operation.inode), File):
            return found
        raise LookupError(f"{operation.kind.name} of a file that was made before the record began, or elsewhere")

    def _rename(self, changes: "dict[str, File | Directory | None]") -> None:
        parents = {self._directory(path) for path in changes}
        if len(parents) > 1:
            raise LookupError("a file moved from one directory to another, of which the images know nothing")
        (parent,) = parents
        parent.pending.append({PurePosixPath(path).name: of for path, of in changes.items()})

    def _directory(self, path: str) -> Directory:
        found = self._tree
        for name in PurePosixPath(path).parent.relative_to(self._root).parts:
            below = _changed(found.synced, found.pending)[name]
            assert isinstance(below, Directory)
            found = below
        return found


def states(log: Path, root: Path, cuts: Iterable[int]) -> Iterator[tuple[int, Disk]]:
    """The disk as it stood when the log was as long as each of `cuts`, in ascending order, each with its cut."""
    disk = Disk(root)
    remaining = operations(log)
    ahead = next(remaining, None)
    for cut in sorted(cuts):
        while ahead is not None and ahead.end <= cut:
            disk.follow(ahead)
            ahead = next(remaining, None)
        yield cut, disk


def _apply(octets: bytearray, changes: Iterable[Operation], *, part: float = 1.0) -> None:
    for change in changes:
        if change.kind is Kind.TRUNCATE:
            del octets[change.offset :]
            octets.extend(bytes(change.offset - len(octets)))
        else:
            data = change.data[: int(len(change.data) * part)]
            octets.extend(bytes(max(0, change.offset - len(octets))))
            octets[change.offset : change.offset + len(data)] = data


def _changed(
    names: "dict[str, File | Directory]", changes: "Iterable[dict[str, File | Directory | None]]"
) -> "dict[str, File | Directory]":
    after: dict[str, File | Directory | None] = dict(names)
    for change in changes:
        after.update(change)
    return {name: of for name, of in after.items() if of is not None}
