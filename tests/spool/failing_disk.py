"""A disk that fails where a test says: SQLite's file system (VFS), with failures in front of it."""

from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import apsw

__all__ = ["FailingDisk"]


class FailingDisk(apsw.VFS):
    """Every database that is opened within the `with` lies on it.

    The calls ("xSync", "xWrite", "xTruncate") on files whose names end in `suffix` are counted from `fail` on; the
    `at`-th of them raises `error`, or each from it on where it is `sticky`. `failed` counts those.
    """

    def __init__(self) -> None:
        super().__init__("failing", "unix", makedefault=True)
        self.calm()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.calm()
        self.unregister()

    def fail(
        self,
        error: type[apsw.Error],
        *,
        calls: tuple[str, ...] = ("xSync", "xWrite", "xTruncate"),
        suffix: str = "",
        at: int = 1,
        sticky: bool = False,
    ) -> None:
        self.error, self.calls, self.suffix, self.at, self.sticky = error, calls, suffix, at, sticky
        self.counted = self.failed = 0

    def calm(self) -> None:
        self.fail(apsw.IOError, at=0)

    def called(self, call: str, name: str) -> None:
        if not self.at or call not in self.calls or not name.endswith(self.suffix):
            return
        self.counted += 1
        if self.counted == self.at or (self.sticky and self.counted > self.at):
            self.failed += 1
            raise self.error(f"{call} of {name} fails")

    def xOpen(self, name: Any, flags: list[int]) -> "_File":
        return _File(name, flags, self.called)


class _File(apsw.VFSFile):
    def __init__(self, name: Any, flags: list[int], called: Callable[[str, str], None]) -> None:
        super().__init__("unix", name, flags)
        self._name = name.filename() if isinstance(name, apsw.URIFilename) else str(name)
        self._called = called

    def xSync(self, flags: int) -> None:
        self._called("xSync", self._name)
        super().xSync(flags)

    def xWrite(self, data: bytes, offset: int) -> None:
        self._called("xWrite", self._name)
        super().xWrite(data, offset)

    def xTruncate(self, size: int) -> None:
        self._called("xTruncate", self._name)
        super().xTruncate(size)

    # SQLite asks in vain for what it can do without; apsw would tell of each.
    def excepthook(self, *_: object) -> bool:
        return True
