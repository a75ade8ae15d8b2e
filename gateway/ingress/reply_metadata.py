"""What replies carry beside their text: which response codes a client is offered, and those of the final replies."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from gateway.delivery import RecipientOutcome
from gateway.envelope import Client, Mail
from gateway.ingress.content_tokens import count_hints, with_content_tokens
from gateway.ingress.networks import Network, is_in
from gateway.ingress.receipt_codes import RECEIPT, Coordinates, signed_receipts, with_receipts
from gateway.ingress.submission import with_submission_tokens
from gateway.ingress.transaction import Transaction
from gateway.maildata import ContentTokens
from gateway.receipts import Signer
from gateway.smtp import Reply
from gateway.smtp.extensions.xreplymeta import MAILDATA
from gateway.stoken import SubmissionTokens

__all__ = ["OfferedCodes", "ReplyMetadata"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferedCodes:
    """The names of some response codes, and the networks whose clients may ask for them."""

    names: tuple[str, ...]
    networks: tuple[Network, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyMetadata:
    """The response codes of one listener; by default it has none.

    `coordinates` say how receipts are written, `signer` signs them where there is a key for it. `contents` makes and
    reads tokens about stored content, `submission` those of clients that submit by token.
    """

    offered: tuple[OfferedCodes, ...] = ()
    coordinates: Coordinates = field(default_factory=dict)
    signer: Signer | None = None
    contents: ContentTokens | None = None
    submission: SubmissionTokens | None = None

    def offered_to(self, client: Client) -> tuple[str, ...]:
        """The names of the codes that this client may ask for."""
        return tuple(name for codes in self.offered if is_in(codes.networks, client) for name in codes.names)

    def added_to(
        self,
        replies: Sequence[Reply],
        transaction: Transaction,
        mail: Mail,
        outcomes: Sequence[RecipientOutcome],
        asked_for: Collection[str],
        *,
        each: bool,
    ) -> tuple[Reply, ...]:
        """The final replies of a mail, with the codes that the client has asked for: one at least.

        `each` says that there is a reply for each recipient (LMTP), which then names it.
        """
        tokens = (
            signed_receipts(self.signer, mail.envelope, outcomes)
            if self.signer is not None and RECEIPT in asked_for
            else {}
        )
        replies = with_receipts(replies, transaction.id, outcomes, self.coordinates, tokens, each=each)
        if self.contents is not None and MAILDATA in asked_for:
            replies = with_content_tokens(replies, outcomes, self.contents, mail.envelope, each=each)
        if self.submission is not None and transaction.submission_tokens:
            replies = with_submission_tokens(replies, self.submission, transaction.submission_tokens, mail)
        return tuple(replies)

    def count_hints(self, transaction: Transaction, mail: Mail) -> Mapping[str, int]:
        """What the tokens about stored content came to that the client has shown."""
        if self.contents is None:
            return {}
        return count_hints(transaction.hints, self.contents, mail.envelope)
