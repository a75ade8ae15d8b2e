"""Tokens about stored content: read from RCPT, and given in final replies, `[MAILDATA token]`.

A token that a client shows changes no reply and no delivery: the mail is stored as it was received, and shares the
storage of another by its own digest or not at all. What the token said of it is counted for the log. So nobody learns
from a token, or from a made-up one, what is stored here.
"""

import time
from collections import Counter
from collections.abc import Sequence

from msgspec import Struct, structs

from gateway.delivery import RecipientOutcome
from gateway.envelope import Envelope
from gateway.ingress.networks import UNIX
from gateway.maildata import ContentTokens, TokenIgnored
from gateway.smtp import Reply
from gateway.smtp.extensions.xreplymeta import MAILDATA, MAILDATA_PARAMETERS
from gateway.smtp.response_codes import ResponseCode

__all__ = ["Hint", "count_hints", "hint_of", "with_content_tokens"]


class Hint(Struct, frozen=True, kw_only=True):
    """The token of a RCPT; `domain` is that of the recipient, `at` the Unix time when it came."""

    token: str
    domain: str
    at: float

    def __repr__(self) -> str:
        return f"Hint(domain={self.domain!r}, at={self.at!r})"


def hint_of(parameters: Sequence[tuple[str, str]], domain: str) -> Hint | None:
    """The hint in the parameters of a RCPT."""
    for keyword, value in parameters:
        if keyword in MAILDATA_PARAMETERS:
            return Hint(token=value, domain=domain, at=time.time())
    return None


def count_hints(hints: Sequence[Hint], tokens: ContentTokens, envelope: Envelope) -> Counter[str]:
    """How many tokens were about this very content (`same`), about another (`different`), and why others are ignored.

    SHA-256 and size are those of what was received.
    """
    counted: Counter[str] = Counter()
    message, peer = envelope.message, _peer(envelope)
    for hint in hints:
        try:
            content = tokens.open(hint.token, domain=hint.domain, peer=peer, now=hint.at)
        except TokenIgnored as ignored:
            counted[ignored.reason] += 1
        else:
            is_same = (content.sha256.hex(), content.size) == (message.sha256, message.size)
            counted["same" if is_same else "different"] += 1
    return counted


def with_content_tokens(
    replies: Sequence[Reply],
    outcomes: Sequence[RecipientOutcome],
    tokens: ContentTokens,
    envelope: Envelope,
    *,
    each: bool,
) -> tuple[Reply, ...]:
    """The final replies, the positive ones with a token for their recipient's domain, if it is stored to be shared.

    `each` says that there is a reply for each recipient (LMTP), which then names it. One reply for all of them has a
    token only where all are of one domain: it does not say whom a token is for.
    """
    now = time.time()
    if each:
        return tuple(
            _with_token(reply, outcome, tokens, envelope, now=now)
            for reply, outcome in zip(replies, outcomes, strict=True)
        )
    domains = {outcome.recipient.address.domain.lower() for outcome in outcomes}
    if len(domains) != 1:
        return tuple(replies)
    return tuple(_with_token(reply, outcomes[0], tokens, envelope, now=now) for reply in replies)


def _with_token(
    reply: Reply, outcome: RecipientOutcome, tokens: ContentTokens, envelope: Envelope, *, now: float
) -> Reply:
    if not reply.is_positive:
        return reply
    message, address = envelope.message, outcome.recipient.address
    sealed = (
        tokens.seal(
            storage=receipt.connector,
            sha256=message.sha256,
            size=message.size,
            domain=address.domain,
            peer=_peer(envelope),
            now=now,
        )
        for receipt in outcome.receipts
    )
    token = next(filter(None, sealed), "")
    if not token:
        return reply
    return structs.replace(reply, codes=(*reply.codes, ResponseCode(MAILDATA, (token,))))


def _peer(envelope: Envelope) -> str:
    # A client behind a Unix socket is on this machine, and has no address.
    transaction = envelope.transaction
    return transaction.authenticated_as or transaction.client.address.replace(UNIX, "")
