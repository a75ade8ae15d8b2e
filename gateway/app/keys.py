"""The keys of a running gateway, and what makes its receipts and tokens."""

from collections.abc import Collection

from gateway.app.failure import StartError
from gateway.config import Gateway
from gateway.keys import KeyRing, KeysError, Purpose, read_keys
from gateway.maildata import ContentTokens
from gateway.receipts import Signer
from gateway.stoken import SubmissionTokens

__all__ = ["content_tokens", "load_keys", "receipt_signer", "submission_tokens"]


def load_keys(gateway: Gateway) -> KeyRing:
    """The keys of the configured directory, none where none is. Raises StartError."""
    if gateway.keys is None:
        return KeyRing()
    try:
        return read_keys(gateway.keys)
    except KeysError as error:
        raise StartError(f"`gateway.keys`: {error}") from error


def receipt_signer(ring: KeyRing) -> Signer | None:
    """What signs with the receipt key in use, None where there is none."""
    key = ring.in_use(Purpose.RECEIPT)
    return Signer(key) if key is not None else None


def content_tokens(ring: KeyRing, hostname: str, storages: Collection[str]) -> ContentTokens:
    """What makes and reads tokens about content in these connectors. Raises KeysError where there is no key for it."""
    tokens = ContentTokens(ring, issuer=hostname, storages=storages)
    if not tokens:
        raise KeysError("`reply_metadata.maildata` needs a key; run `mailsluice keys new maildata`")
    return tokens


def submission_tokens(ring: KeyRing) -> SubmissionTokens:
    """What makes and checks submission tokens. Raises KeysError where there is no key for it."""
    tokens = SubmissionTokens(ring)
    if not tokens:
        raise KeysError("`reply_metadata.stoken` needs a key; run `mailsluice keys new stoken`")
    return tokens
