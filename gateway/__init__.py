"""Mailsluice: a gateway from mail to event pipelines.

The way of a mail, one call after the other: `ingress.session` (octets) → `smtp.ServerConnection` (events)
→ `ingress.transaction` (a Mail) → `delivery.submit` (receipts) → `ingress.acknowledge` (replies).
"""

from importlib.metadata import PackageNotFoundError, version

__all__ = ["__version__"]

try:
    __version__ = version("mailsluice")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"
