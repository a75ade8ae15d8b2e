"""Taking mails out of an archive, and the content that no mail refers to any more: what some connectors can do besides.

A gateway never does either by itself; `mailsluice archive` does, for an operator.
"""

from typing import Protocol, runtime_checkable

from msgspec import Struct

__all__ = ["Collected", "CollectingConnector", "SharingSettings"]


@runtime_checkable
class SharingSettings(Protocol):
    """The settings of a connector that can keep the content of several mails once, and does if `single_instance`."""

    @property
    def single_instance(self) -> bool: ...


class Collected(Struct, frozen=True, kw_only=True):
    """What a collection removed: how many contents, and of how many octets together.

    `condemned` counts those that only a later collection may remove, once everybody can know that they are condemned.
    """

    contents: int = 0
    octets: int = 0
    condemned: int = 0


@runtime_checkable
class CollectingConnector(Protocol):
    """A connector that keeps mails under keys, `…YYYY/MM/DD/<id>`, and may keep the content of several of them once.

    Both methods may run while gateways store mail in the same place, and may be repeated after any failure.
    """

    async def remove(self, key: str) -> bool:
        """Remove the mail with this key, its envelope first; False where there is none. No other mail is touched.

        `key` may end in the suffix of one of the mail's files. Raises ValueError for what is no key of a mail, and
        TransientFailure.
        """

    async def collect(self, *, unused_seconds: float) -> Collected:
        """Remove shared content to which no mail refers, and to which none did for so long. Raises TransientFailure."""
