"""Signed receipts: tokens by which anyone with the gateway's public keys can check what it received and where it is.

Checking one needs neither the gateway nor the destination, now or later.
"""

from gateway.receipts.claims import Claims, location_digest
from gateway.receipts.token import Signer, TokenError, verify_token

__all__ = ["Claims", "Signer", "TokenError", "location_digest", "verify_token"]
