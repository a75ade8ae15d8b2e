"""The bounds of one server session."""

from dataclasses import dataclass
from functools import cached_property

__all__ = ["Limits"]


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a client may ask of one session; everything beyond is refused, and far beyond ends the session.

    `junk` counts commands that do no work (NOOP, HELP, VRFY, empty chunks …) between two accepted messages.
    """

    message_octets: int
    command_octets: int = 2048
    recipients: int = 1000
    errors: int = 20
    junk: int = 100
    chunks: int = 100_000
    containers: int = 64
    container_octets: int = 1024 * 1024
    metadata_octets: int = 4 * 1024 * 1024

    @cached_property
    def discard_octets(self) -> int:
        """How much refused payload is read, to stay in step with the client, before the session is ended instead."""
        return max(self.message_octets, self.metadata_octets) * 3 // 2
