"""Content that is digested as it is handed out: what was changed since it was checked does not get to its end."""

import errno
import hashlib
import threading

from gateway.envelope.content import Content

__all__ = ["CheckedContent"]


class CheckedContent(Content):
    """The octets of another content, which must have this SHA-256.

    Whoever reads from the beginning to the end, whole or in blocks, gets an OSError in place of the last block where
    the octets do not have that digest. Others may read at the same time, and anywhere; what they read out of order is
    not digested. A derived form is made of octets that are digested before.
    """

    __slots__ = ("_checked", "_digest", "_digested", "_lock", "_sha256")

    def __init__(self, checked: Content, sha256: str) -> None:
        super().__init__()
        self.size = checked.size
        self._checked = checked
        self._sha256 = sha256
        self._lock = threading.Lock()
        self._digest = hashlib.sha256()
        self._digested = 0

    def derive(  # type: ignore[override]  # a derived form has no digest to be checked against
        self, *, prefix: bytes = b"", omit: tuple[tuple[int, int], ...] = ()
    ) -> Content:
        """The derived form. Raises OSError where the octets do not have the digest; that reads them all."""
        self._require(self._checked.sha256())
        return self._checked.derive(prefix=prefix, omit=omit)

    def read_at(self, position: int, size: int) -> bytes:
        block = self._checked.read_at(position, size)
        with self._lock:
            if position == 0:
                self._digest, self._digested = hashlib.sha256(), 0
            if position == self._digested:
                self._digest.update(block)
                self._digested += len(block)
                if self._digested == self.size:
                    self._require(self._digest.hexdigest())
        return block

    def close(self) -> None:
        self._checked.close()

    def _require(self, sha256: str) -> None:
        if sha256 != self._sha256:
            raise OSError(errno.EIO, "the content was changed since it was checked")
