"""What of a destination's spooled mail is in memory: as much as it takes at once, and as much again to be settled."""

__all__ = ["Window"]

_MAXIMUM_OCTETS = 16 * 1024 * 1024


class Window:
    """Places for mails. One is taken before an attempt, and given back when what became of it is on the disk."""

    def __init__(self) -> None:
        self.emitting = 0
        self._unsettled = 0
        self._octets = 0

    @property
    def is_empty(self) -> bool:
        """Whether nothing is under way any more."""
        return not self._unsettled

    @property
    def free_octets(self) -> int:
        """How much more may be in memory; none or less where there is too much already."""
        return _MAXIMUM_OCTETS - self._octets

    def free_places(self, size: int) -> int:
        """How many more mails may be attempted where `size` may be at once; none or less where none may."""
        return min(size - self.emitting, 2 * size - self._unsettled) if self.free_octets > 0 else 0

    def take(self, octets: int) -> None:
        """A mail is about to be attempted."""
        self.emitting += 1
        self._unsettled += 1
        self._octets += octets

    def emitted(self) -> None:
        """An attempt has ended; it is to be settled."""
        self.emitting -= 1

    def settled(self, octets: int) -> None:
        """Nothing of a mail is left in memory."""
        self._unsettled -= 1
        self._octets -= octets
