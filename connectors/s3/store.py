"""Requests to the store through boto3, and small objects past most of it, bounded in time and in number."""

import random
from concurrent.futures import CancelledError
from typing import Any

from boto3.session import Session
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionClosedError,
    InvalidEndpointConfigurationError,
)

from connectors.s3 import failures
from connectors.s3.body import Body
from connectors.s3.failures import OutcomeUnknown
from connectors.s3.settings import S3Settings
from connectors.s3.small_objects import SmallObjects
from connectors.s3.threads import Permit
from gateway import __version__
from gateway.envelope import BLOCK

__all__ = ["Store"]

# Seconds between three attempts. The SDK's own repeats are off: they would go on after the permit has ended.
_PAUSES = (0.2, 1.0)
_CONNECT_SECONDS = 5.0
_READ_SECONDS = 10.0
# The operations after which there is an object.
_STORING = frozenset({"put_object", "complete_multipart_upload"})
# What the answer to each has to have. One that broke off may otherwise look to the SDK like success.
_PROOFS = {
    "put_object": "ETag",
    "create_multipart_upload": "UploadId",
    "upload_part": "ETag",
    "complete_multipart_upload": "ETag",
    "head_object": "ETag",
}


class Store:
    """The SDK's client for one bucket; any number of threads may use it."""

    def __init__(self, settings: S3Settings) -> None:
        """Raises BotoCoreError. This may ask the network, for the credentials of the machine's role."""
        self.bucket = settings.bucket
        session = Session(
            aws_access_key_id=settings.access_key_id or None,
            aws_secret_access_key=settings.secret_access_key.get_secret_value() or None,
            region_name=settings.region or None,
        )
        self._client = _client(session, settings)
        self._small_objects = SmallObjects(self._client, session.get_credentials())

    def send(self, operation: str, **parameters: Any) -> Any:
        """The store's whole answer to one request, such as `"head_object"`. Raises ClientError or BotoCoreError."""
        return self._proven(operation, getattr(self._client, operation)(Bucket=self.bucket, **parameters))

    def attempt(self, permit: Permit, operation: str, **parameters: Any) -> Any:
        """As `send`, but again where a moment later it may succeed. For requests that may safely be repeated.

        Raises CancelledError when the permit has ended, and OutcomeUnknown, in place of any other, where one of the
        attempts may have stored the object and no later one tells whether it has.
        """
        body = parameters.get("Body")
        is_unknown = False
        pauses = iter(_PAUSES)
        while True:
            try:
                permit.check()
                if operation == "put_object" and (answer := self._small_objects.put(parameters)) is not None:
                    return self._proven(operation, answer)
                # Again, since the store may have sent it elsewhere.
                permit.check()
                return self.send(operation, **parameters)
            except (ClientError, BotoCoreError, CancelledError) as error:
                was_sent = not isinstance(body, Body) or body.is_at_end
                is_unknown |= operation in _STORING and was_sent and failures.is_open(error)
                pause = next(pauses, None) if failures.is_worth_retrying(error) else None
                if pause is None:
                    if is_unknown and not failures.is_answered_by_looking(error):
                        raise OutcomeUnknown(error) from error
                    raise
            permit.rest(pause * random.uniform(0.5, 1.5))  # noqa: S311  # spreads load, keeps no secret
            if isinstance(body, Body):
                body.seek(0)

    def close(self) -> None:
        """Close the connections that are not in use."""
        self._client.close()

    def _proven(self, operation: str, answer: Any) -> Any:
        if operation in _PROOFS and _PROOFS[operation] not in answer:
            raise ConnectionClosedError(endpoint_url=self._client.meta.endpoint_url)
        return answer


def _client(session: Session, settings: S3Settings) -> Any:
    # A store that hangs is to be known as such before the deadline.
    patience = settings.deadline_seconds / 4
    config = Config(
        connect_timeout=min(_CONNECT_SECONDS, patience),
        read_timeout=min(_READ_SECONDS, patience),
        retries={"mode": "standard", "total_max_attempts": 1},
        max_pool_connections=settings.connections,
        tcp_keepalive=True,
        # The SDK's own is made anew for every request, which takes as long as signing it does.
        user_agent=f"Mailsluice/{__version__}",
        # Every object goes out with its SHA-256. What the SDK would add on its own, older stores do not understand.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={"addressing_style": "path" if settings.path_style else "auto"},
    )
    try:
        client = session.client("s3", endpoint_url=settings.endpoint_url or None, config=config)
    except ValueError as error:
        # What the SDK says to a URL that it cannot use.
        raise InvalidEndpointConfigurationError(msg=str(error)) from error
    client.meta.events.register("before-send.s3.PutObject", _send_at_once)
    return client


def _send_at_once(request: Any, **_: Any) -> None:
    # The SDK has every object wait for the store's leave (100-continue): a round trip, or a second when it hangs.
    if int(request.headers["Content-Length"]) <= BLOCK:
        del request.headers["Expect"]
