"""The signature of a request to S3, in its headers (AWS Signature Version 4). Without I/O.

https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
"""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

__all__ = ["Key", "signed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """An access key, and what its signatures are for. `token` is empty for one that lasts."""

    access_key: str
    secret_key: str = field(repr=False)
    token: str = field(repr=False)
    region: str
    service: str


def signed(  # noqa: PLR0917  # the order of a request: method, path, headers, body
    method: str, path: str, headers: Mapping[str, str], body: bytes, key: Key, now: datetime
) -> dict[str, str]:
    """The headers, named in lower case, with those of the signature. `path` is as it is sent; there is no query.

    `headers` has to name the host. All that it names is signed.
    """
    moment = now.strftime("%Y%m%dT%H%M%SZ")
    scope = f"{moment[:8]}/{key.region}/{key.service}/aws4_request"
    digest = hashlib.sha256(body).hexdigest()
    given = {name.lower(): value for name, value in headers.items()}
    given |= {"x-amz-content-sha256": digest, "x-amz-date": moment}
    if key.token:
        given["x-amz-security-token"] = key.token
    names = ";".join(sorted(given))
    canonical = "".join(f"{name}:{' '.join(given[name].split())}\n" for name in sorted(given))
    request = f"{method}\n{path}\n\n{canonical}\n{names}\n{digest}"
    to_sign = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    signature = _mac(_signing_key(key.secret_key, scope), to_sign).hex()
    credential = f"{key.access_key}/{scope}"
    given["authorization"] = f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={names}, Signature={signature}"
    return given


def _signing_key(secret: str, scope: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = _mac(key, part)
    return key


def _mac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")
