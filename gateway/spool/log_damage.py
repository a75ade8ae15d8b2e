"""Damage in the middle of the write-ahead log, which SQLite takes for the log's end.

SQLite reads a log up to the first frame that is not as it was written. That is right for what a crash has cut off: the
frames of the last transaction, which was not synced. But each transaction is synced before the next is written. Where
two more were completed behind the place at which SQLite stops, what lies there had been synced, and is damaged.

"Database file format" 4.1 and 4.2: a header of 32 octets, with two salts at 16 and a checksum at 24; then frames of 24
octets and a page, each with the size of the database at 4 where it completes a transaction, the salts at 8, and at 16
the checksum over everything up to here.
"""

import struct
from pathlib import Path

__all__ = ["has_hidden_transactions", "mend"]

_HEADER_OCTETS = 32
_FRAME_OCTETS = 24
_CUT_OFF_BY_A_CRASH = 1


def has_hidden_transactions(log: Path, frames: int, *, page_octets: int) -> bool:
    """Whether transactions that were synced lie behind so many frames of the log. Raises OSError."""
    completed = 0
    with log.open("rb") as file:
        salts = file.read(_HEADER_OCTETS)[16:24]
        place = _HEADER_OCTETS + frames * (_FRAME_OCTETS + page_octets)
        file.seek(place)
        while len(frame := file.read(_FRAME_OCTETS)) == _FRAME_OCTETS:
            completed += frame[8:16] == salts and any(frame[4:8])
            place += _FRAME_OCTETS + page_octets
            file.seek(place)
    return completed > _CUT_OFF_BY_A_CRASH


def mend(log: Path, *, page_octets: int) -> None:
    """Have SQLite read what it would not, where synced transactions are hidden: the checksums are made to fit.

    Whether the pages make sense is for whoever reads them to see. Raises OSError.
    """
    mended = log.with_name(log.name + ".mended")
    first_wrong, number = -1, 0
    with log.open("rb") as file, mended.open("wb") as target:
        header = file.read(_HEADER_OCTETS)
        if len(header) < _HEADER_OCTETS:
            return
        order = ">" if header[3] & 1 else "<"
        checksum = _checksum(header[:24], (0, 0), order)
        target.write(header)
        while len(frame := file.read(_FRAME_OCTETS + page_octets)) == _FRAME_OCTETS + page_octets:
            is_of_this_log = frame[8:16] == header[16:24]
            if is_of_this_log:
                checksum = _checksum(frame[:8] + frame[_FRAME_OCTETS:], checksum, order)
                stored = struct.pack(">II", *checksum)
                target.write(frame[:16] + stored + frame[_FRAME_OCTETS:])
            if first_wrong < 0 and not (is_of_this_log and frame[16:24] == stored):
                first_wrong = number
            number += 1
    if first_wrong >= 0 and has_hidden_transactions(log, first_wrong, page_octets=page_octets):
        mended.replace(log)
    else:
        mended.unlink()


def _checksum(octets: bytes, before: tuple[int, int], order: str) -> tuple[int, int]:
    first, second = before
    words = struct.unpack(f"{order}{len(octets) // 4}I", octets)
    for even, odd in zip(words[::2], words[1::2], strict=True):
        first = (first + even + second) & 0xFFFFFFFF
        second = (second + odd + first) & 0xFFFFFFFF
    return first, second
