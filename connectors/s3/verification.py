"""Which object, or which mail of a batch, a receipt names: `[S3 bucket key version etag index]`.

Nothing is ever overwritten, so a key has one object, and the digest of its octets says more than version and etag.
"""

import re
from collections.abc import Mapping

from connectors.s3.settings import S3Settings
from gateway.connector import Extent, Spot

__all__ = ["spot"]

_MAIL = re.compile(r"((?:.*/)?[0-9]{4}/[0-9]{2}/[0-9]{2}/([0-9A-HJKMNP-TV-Z]{26}))\.eml", re.DOTALL)
_SHARED = re.compile(r"(?:.*/)?content/[0-9a-f]{2}/[0-9a-f]{64}\.eml", re.DOTALL)


def spot(settings: S3Settings, location: Mapping[str, str]) -> Spot:
    """The mail whose content, or whose batch, has the location's key. Raises ValueError where that is none of ours."""
    key, index = location["key"], location["index"]
    if location["bucket"] != settings.bucket:
        raise ValueError(f"its bucket is {settings.bucket}")
    if match := _MAIL.fullmatch(key):
        return Spot(extent=Extent(prefix=f"{match[1]}."), id=match[2])
    if _SHARED.fullmatch(key):
        return Spot(extent=None)
    if not key.endswith(".avro"):
        raise ValueError("the key is none that this connector makes")
    if not (index.isascii() and index.isdecimal() and len(index) < 10):
        raise ValueError("the place of a mail in its batch is a number")
    return Spot(extent=Extent(prefix=key), index=int(index))
