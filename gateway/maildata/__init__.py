"""Tokens about stored content (MAILDATA): a gateway that has stored a mail hints at it to others with its storage.

A proxy that distributes a mail over several gateways gives the token of the first to the others. A token is a hint and
never a right: whoever shows one sends the content all the same, and only what was received counts.
"""

from gateway.maildata.token import LIFETIME_SECONDS, LONGEST_TOKEN, ContentTokens, StoredContent, TokenIgnored

__all__ = ["LIFETIME_SECONDS", "LONGEST_TOKEN", "ContentTokens", "StoredContent", "TokenIgnored"]
