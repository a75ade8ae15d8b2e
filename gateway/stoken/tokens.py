"""Making and checking submission tokens with HMAC-SHA256 (RFC 2104), keyed with the `stoken` keys of the gateway.

A temporary token lives a week, a permanent one a year. Nothing is stored, so none can be revoked by itself: a key that
is deleted revokes all that were made with it.
"""

import hmac

from msgspec import structs

from gateway.keys import KeyRing, Purpose
from gateway.smtp.submission_token import LONGEST_TOKEN, SubmissionToken, TokenKind, read_token

__all__ = ["LIFETIME_SECONDS", "SubmissionTokens"]

_DAY = 86_400
LIFETIME_SECONDS = {TokenKind.TEMP: 7 * _DAY, TokenKind.PERM: 365 * _DAY}

# Compared with where there is no key, so that a key's absence takes as long to tell as a wrong MAC.
_NO_SECRET = bytes(32)


class SubmissionTokens:
    """The tokens of one gateway. Addresses are those of `token_address`; times are Unix times in seconds."""

    def __init__(self, ring: KeyRing) -> None:
        self._secrets = {int(key.id): key.secret for key in ring if key.purpose is Purpose.STOKEN}
        in_use = ring.in_use(Purpose.STOKEN)
        self._in_use = int(in_use.id) if in_use is not None else 0

    def __bool__(self) -> bool:
        """Whether there is a key to make tokens with."""
        return bool(self._in_use)

    def issue(self, kind: TokenKind, *, sender: str, recipient: str, now: float) -> str:
        """A token for mail from `sender` to `recipient`; empty where it would be longer than a reply can carry."""
        unsigned = SubmissionToken(
            key=self._in_use, kind=kind, expires=int(now) + LIFETIME_SECONDS[kind], sender=sender
        )
        mac = _mac(self._secrets[self._in_use], unsigned, recipient)
        token = str(structs.replace(unsigned, mac=mac))
        return token if len(token) <= LONGEST_TOKEN else ""

    def check(self, text: str, *, sender: str, recipient: str, now: float) -> SubmissionToken | None:
        """The token, if it is one of ours, for these two, and not expired. None for any other, without a reason."""
        try:
            token = read_token(text)
        except ValueError:
            return None
        secret = self._secrets.get(token.key)
        is_ours = hmac.compare_digest(_mac(secret or _NO_SECRET, token, recipient), token.mac) and secret is not None
        return token if is_ours and token.sender == sender and now < token.expires else None

    def follow_up(self, token: SubmissionToken, *, recipient: str, now: float) -> str:
        """A permanent token after a delivery with `token`; empty while that is a permanent one in its first half."""
        if token.kind is TokenKind.PERM and token.expires - now > LIFETIME_SECONDS[TokenKind.PERM] / 2:
            return ""
        return self.issue(TokenKind.PERM, sender=token.sender, recipient=recipient, now=now)


def _mac(secret: bytes, token: SubmissionToken, recipient: str) -> bytes:
    return hmac.digest(secret, token.claim(recipient), "sha256")
