"""Small objects, by a shorter way than the SDK's own: its way takes longer than a store takes to answer.

The SDK resolves the bucket's address and how a request to it is signed, once, for the first request about the bucket
itself. Its credentials (refreshed as ever), signature, connections, time-outs, proxies and certificates are used here,
so that what goes wrong on the way is what would go wrong there. What is left out is all that the SDK decides anew for
each request: here that is always the same, PutObject of octets in memory.

Whatever this way does not know is left to the SDK: content from a file, a parameter or a value that is not in the table
below, another kind of signature (directory buckets), a bucket that turns out to be in another region.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlsplit

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import ClientError
from botocore.parsers import create_parser

from connectors.s3.failures import code_of

__all__ = ["SmallObjects"]

# https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObject.html
_HEADERS = {
    "ChecksumSHA256": "x-amz-checksum-sha256",
    "ContentType": "content-type",
    "IfNoneMatch": "if-none-match",
    "ObjectLockMode": "x-amz-object-lock-mode",
    "ObjectLockRetainUntilDate": "x-amz-object-lock-retain-until-date",
    "SSEKMSKeyId": "x-amz-server-side-encryption-aws-kms-key-id",
    "ServerSideEncryption": "x-amz-server-side-encryption",
    "StorageClass": "x-amz-storage-class",
    "Tagging": "x-amz-tagging",
}
_PROPERTIES = {"ETag": "etag", "VersionId": "x-amz-version-id"}
_SIGNATURE = "s3v4"
# What says that the bucket is in another region. The SDK finds out which.
_REDIRECTIONS = frozenset({301, 302, 307})
_ELSEWHERE = frozenset({"AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "PermanentRedirect"})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Address:
    """Where the bucket is, what a signature for it names, and as what program the SDK introduces itself there."""

    url: str
    region: str
    service: str
    user_agent: str


class SmallObjects:
    """The shorter way to one bucket of one client; any number of threads may use it."""

    def __init__(self, client: Any, credentials: Any) -> None:
        """`credentials` are those of the client's session, or None."""
        # It has no public name. An SDK that has none of that kind does all by itself.
        self._session = getattr(getattr(client, "_endpoint", None), "http_session", None)
        self._credentials = credentials
        self._parser = create_parser("rest-xml")
        self._address: _Address | None = None
        client.meta.events.register("before-sign.s3.ListMultipartUploads", self._learn)

    def put(self, parameters: dict[str, Any]) -> dict[str, str] | None:
        """What the store answers to PutObject with the SDK's `parameters`; None where the SDK has to be asked instead.

        Raises ClientError and BotoCoreError, as the SDK does. After None there is no object yet.
        """
        address, headers, body = self._address, _headers(parameters), parameters["Body"]
        if address is None or headers is None or not isinstance(body, bytes):
            return None
        if self._session is None or self._credentials is None:
            return None
        url = f"{address.url}/{quote(parameters['Key'], safe='/~')}"
        request = AWSRequest("PUT", url, headers={"User-Agent": address.user_agent, **headers}, data=body)
        credentials = self._credentials.get_frozen_credentials()
        S3SigV4Auth(credentials, address.service, address.region).add_auth(request)
        answer = self._session.send(request.prepare())
        status = answer.status_code
        if status == 200 and _is_error(answer.content):
            status = 500
        if status < 300:
            return {name: answer.headers[header] for name, header in _PROPERTIES.items() if header in answer.headers}
        error = ClientError(
            self._parser.parse({"status_code": status, "headers": answer.headers, "body": answer.content}, None),
            "PutObject",
        )
        if status in _REDIRECTIONS or code_of(error) in _ELSEWHERE:
            self._address = None
            return None
        raise error

    def _learn(self, request: Any, region_name: str, signing_name: str, signature_version: str, **_: Any) -> None:
        # Again when the SDK was sent to another region.
        if signature_version != _SIGNATURE:
            self._address = None
            return
        url, context = urlsplit(request.url), request.context.get("signing", {})
        self._address = _Address(
            url=f"{url.scheme}://{url.netloc}{url.path.rstrip('/')}",
            region=context.get("region", region_name),
            service=context.get("signing_name", signing_name),
            user_agent=request.headers["User-Agent"],
        )


def _is_error(body: bytes) -> bool:
    # The store may find out too late for another status. What is no XML is an error to the SDK, too.
    return bool(body) and (b"<Error" in body or not (body.startswith(b"<") and body.endswith(b">")))


def _headers(parameters: dict[str, Any]) -> dict[str, str] | None:
    headers = {}
    for name, value in parameters.items():
        if name in {"Body", "Key"}:
            continue
        text = f"{value.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}" if isinstance(value, datetime) else value
        if name not in _HEADERS or not (text.isascii() and text.isprintable()):
            return None
        headers[_HEADERS[name]] = text
    return headers
