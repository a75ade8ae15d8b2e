"""What lies in a directory archive, read and verified."""

from dataclasses import dataclass
from pathlib import Path

from gateway import archive
from gateway.codec import json_v1
from gateway.envelope import Envelope


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A mail as a reader of the archive finds it."""

    envelope: Envelope
    content: bytes
    marker: Path


def stored(root: Path) -> list[Stored]:
    """Every mail of an archive, oldest first. All of them have to be intact."""
    if not root.exists():
        return []
    damaged = [finding for finding in archive.verify(root) if finding.verdict is archive.Verdict.DAMAGED]
    assert not damaged
    return [
        Stored(
            envelope=json_v1.decode(marker.read_bytes()), content=marker.with_suffix(".eml").read_bytes(), marker=marker
        )
        for marker in archive.mails(root)
    ]


def only(root: Path) -> Stored:
    """The one mail of an archive."""
    (mail,) = stored(root)
    return mail
