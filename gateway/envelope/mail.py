"""A mail: the envelope and the content that belongs to it (the mail object of RFC 5321 §2.3.1)."""

from collections.abc import Sequence
from dataclasses import dataclass

from msgspec import structs

from gateway.envelope.content import Content
from gateway.envelope.model import ContentReference, Envelope

__all__ = ["Mail"]


@dataclass(frozen=True, slots=True)
class Mail:
    """What the ingress makes, delivery hands on and a connector emits."""

    envelope: Envelope
    content: Content

    def for_recipients(self, positions: Sequence[int]) -> "Mail":
        """The mail with those recipients in its envelope that stand at `positions`, ascending."""
        every = self.envelope.envelope.recipients
        if len(positions) == len(every):
            return self
        transaction = structs.replace(self.envelope.envelope, recipients=tuple(every[at] for at in positions))
        return Mail(structs.replace(self.envelope, envelope=transaction), self.content)

    def inline(self) -> Envelope:
        """The envelope with the content's octets inside it. For content known to be small enough to hold in memory."""
        message = structs.replace(self.envelope.message, content=self.content.read(), reference=None)
        return structs.replace(self.envelope, message=message)

    def by_reference(self, reference: ContentReference) -> Envelope:
        """The envelope that says where the content lies, for events too large to carry it (a claim check)."""
        message = structs.replace(self.envelope.message, content=None, reference=reference)
        return structs.replace(self.envelope, message=message)
