"""A batch: the mails in it, and the file that they become."""

import io
from collections.abc import Iterable, Iterator
from typing import Literal

from connectors.s3 import failures
from connectors.s3.threads import Permit
from gateway.codec import avro_v1
from gateway.connector import DeliveryFailure, Mail
from gateway.envelope import Envelope

__all__ = ["Place", "write"]


class Place:
    """One mail's place in a batch. Its content is read only while the permit lasts."""

    def __init__(self, mail: Mail) -> None:
        self.mail = mail
        self.permit = Permit()

    def record(self) -> Envelope:
        """The envelope with its content, unless it refers to it. Raises OSError, or CancelledError."""
        with self.permit.held():
            return self.mail.envelope if self.mail.envelope.message.reference else self.mail.inline()


def write(
    places: Iterable[Place], file: io.FileIO, compression: Literal["zstandard", "deflate"]
) -> tuple[list[Place], dict[Place, DeliveryFailure]]:
    """Write an Avro object container file with the mails of `places`, one in memory (and that three times) at a time.

    Returns those that are in the file, in its order, and why the others are not: a mail that cannot be read, or that
    was cancelled, does not stand in the way of the rest. Raises OSError when the file cannot be written.
    """
    written: list[Place] = []
    unread: dict[Place, DeliveryFailure] = {}

    def records() -> Iterator[Envelope]:
        for place in places:
            try:
                with failures.translated():
                    record = place.record()
            except DeliveryFailure as failure:
                unread[place] = failure
            else:
                written.append(place)
                yield record

    buffer = io.BufferedWriter(file)
    avro_v1.write_file(buffer, records(), codec=compression)
    buffer.flush()
    # The file stays open for reading.
    buffer.detach()
    return written, unread
