"""Submission tokens at a session: who comes in by one, whom it may write to, and which it gets for its deliveries."""

import time
from collections.abc import Sequence

from msgspec import structs

from gateway.connector import Mail
from gateway.smtp import CredentialsReceived, RecipientReceived, Reply, SubmissionTokenRequested
from gateway.smtp.extensions.stoken import DELIVERY_ID, STOKEN
from gateway.smtp.refusals import NOT_AVAILABLE
from gateway.smtp.response_codes import ResponseCode
from gateway.smtp.submission_token import SubmissionToken, TokenKind, token_address
from gateway.stoken import SubmissionTokens

__all__ = ["TOKEN_REFUSED", "admitted", "give_token", "is_known", "with_submission_tokens"]

TOKEN_REFUSED = Reply.of(550, "5.7.1", "no valid token for this recipient")
_TOO_LONG = Reply.of(451, "4.5.0", "no token can be made for an address of that length")


def is_known(tokens: SubmissionTokens, credentials: CredentialsReceived) -> bool:
    """Whether the token of AUTH STOKEN is good: it authenticates the sender that it names."""
    text, sender = credentials.password.decode("ascii", "replace"), credentials.login.decode("utf-8", "replace")
    return tokens.check(text, sender=sender, recipient=credentials.recipient, now=time.time()) is not None


def admitted(tokens: SubmissionTokens, recipient: RecipientReceived, *, sender: str) -> SubmissionToken | None:
    """The token that lets `sender` write to this recipient; None where the one shown does not."""
    text = next((value for keyword, value in recipient.parameters if keyword == STOKEN), "")
    return tokens.check(text, sender=sender, recipient=token_address(recipient.address), now=time.time())


def give_token(tokens: SubmissionTokens | None, request: SubmissionTokenRequested) -> Reply:
    """The answer to GENSTOKEN, which is no command of a listener without `tokens`.

    The verb is all the consent that a code needs, so it is in the text.
    """
    if tokens is None:
        return NOT_AVAILABLE
    token = tokens.issue(request.kind, sender=request.sender, recipient=request.recipient, now=time.time())
    if not token:
        return _TOO_LONG
    kind = "temporary" if request.kind is TokenKind.TEMP else "permanent"
    return Reply.of(250, "2.0.0", f"{ResponseCode(STOKEN, (token,))} {kind} token")


def with_submission_tokens(
    replies: Sequence[Reply], tokens: SubmissionTokens, shown: Sequence[SubmissionToken], mail: Mail
) -> tuple[Reply, ...]:
    """The final replies, one for each recipient; the positive ones have the mail's id, and a new token in time."""
    recipients, now = mail.envelope.envelope.recipients, time.time()
    found: list[Reply] = []
    for reply, token, recipient in zip(replies, shown, recipients, strict=True):
        codes = [*reply.codes]
        if reply.is_positive:
            if new := tokens.follow_up(token, recipient=token_address(recipient.address), now=now):
                codes.append(ResponseCode(STOKEN, (new,)))
            codes.append(ResponseCode(DELIVERY_ID, (mail.envelope.id,)))
        found.append(structs.replace(reply, codes=tuple(codes)))
    return tuple(found)
