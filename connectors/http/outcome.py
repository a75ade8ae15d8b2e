"""What a consumer's answer means: a receipt, or the failure of this attempt.

2xx                   the consumer has the mail
408, 425, 429, 5xx    not now: transient
3xx and any 1xx       transient too: the URL is not the consumer's, which its operator can mend, and until then no
                      mail may be lost over it (Standard Webhooks counts a redirection as a failure and follows none)
410                   the consumer wants no mail at all any more (Standard Webhooks: "disable the webhook endpoint")
any other 4xx         refused for good, in the consumer's own words if it gave any as text/plain

To Standard Webhooks any other 4xx is one more failure to be tried again for days. Here it is the consumer's decision
about this mail, whether a client waits for it or the spool does: a consumer has 5xx and 429 to say "again", and nothing
but 4xx to say "never". A mail refused so is not lost, it is a dead letter, which an operator can have tried again.

With 5xx the outcome is unknown: that a server failed (RFC 9110 §15.6) does not say at what. The application may fail
after it stored the mail, and a proxy in front of it says 502, 503 or 504 for an answer that it lost. 3xx and 4xx say
that the request was not carried out. A consumer that answers 2xx before it has the whole mail may believe it has one.
"""

import re
import time
from dataclasses import dataclass
from typing import Annotated

import msgspec

from connectors.http.retry_after import retry_after_seconds
from gateway.connector import DestinationClosed, PermanentFailure, Receipt, TransientFailure
from gateway.status import (
    ADMINISTRATIVE_REFUSAL,
    DESTINATION_UNRESPONSIVE,
    LOCAL_ERROR,
    MESSAGE_TOO_BIG,
    MISCONFIGURED,
)

__all__ = ["ANSWER_LIMIT", "Answer", "receipt"]

ANSWER_LIMIT = 64 * 1024

_TRY_LATER = frozenset({408, 425, 429})
_GONE = 410
_CONTENT_TOO_LARGE = 413
# Standard Webhooks, "Delivery success and failure": those that ask for fewer requests.
_SLOW_DOWN = frozenset({429, 502, 503, 504})

# RFC 5321 §4.5.3.1.5: a reply line has 512 octets; code, status, id and address take their part of them.
_TEXT_LIMIT = 200
_COORDINATE_LIMIT = 200
_UNPRINTABLE = re.compile(r"[^ -~]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A consumer's answer; `is_early` where it came before the whole request had left.

    `body` has at most ANSWER_LIMIT octets, and none where they came encoded (RFC 9110 §8.4).
    """

    status: int
    is_early: bool = False
    media_type: str = ""
    location: str = ""
    retry_after: str = ""
    body: bytes = b""


class _Stored(msgspec.Struct):
    id: str | Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)] = ""


_STORED = msgspec.json.Decoder(_Stored)


def receipt(answer: Answer, *, id: str, connector: str) -> Receipt:  # noqa: A002  # the receipt's own word
    """The receipt that a 2xx answer is. Raises TransientFailure or PermanentFailure for any other answer."""
    status = answer.status
    if 200 <= status <= 299 and answer.is_early:
        raise TransientFailure(
            DESTINATION_UNRESPONSIVE,
            "the destination did not take the whole mail, try again later",
            cause=f"HTTP {status} before the consumer had the whole mail",
            possibly_stored=True,
        )
    if 200 <= status <= 299:
        return Receipt(id=id, connector=connector, type="http", location=_coordinates(answer))
    if status < 400:
        target = f" to {_printable(answer.location)}" if answer.location else ""
        raise TransientFailure(
            MISCONFIGURED,
            "the destination is not configured correctly, try again later",
            cause=f"HTTP {status}{target}, which is not followed: set url to where the consumer really is",
        )
    said = _first_line(answer)
    cause = f"HTTP {status}" + (f": {said}" if said else "")
    if status in _TRY_LATER or status >= 500:
        if answer.retry_after:
            cause += f", Retry-After: {_printable(answer.retry_after)}"
        raise TransientFailure(
            LOCAL_ERROR,
            "the destination cannot take the mail now, try again later",
            cause=cause,
            possibly_stored=status >= 500 and not answer.is_early,
            retry_after_seconds=retry_after_seconds(answer.retry_after, now=time.time()) if status in _SLOW_DOWN else 0,
        )
    failure = DestinationClosed if status == _GONE else PermanentFailure
    raise failure(
        MESSAGE_TOO_BIG if status == _CONTENT_TOO_LARGE else ADMINISTRATIVE_REFUSAL,
        said or f"the destination refused the mail (HTTP {status})",
        cause=cause,
    )


def _coordinates(answer: Answer) -> dict[str, str | int]:
    location: dict[str, str | int] = {"status": answer.status}
    stored_as = _id(answer)
    if stored_as != "":
        location["id"] = stored_as if isinstance(stored_as, int) else _printable(stored_as)
    if answer.location:
        location["location"] = _printable(answer.location)
    return location


def _id(answer: Answer) -> str | int:
    if answer.media_type != "application/json" and not answer.media_type.endswith("+json"):
        return ""
    try:
        return _STORED.decode(answer.body).id
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        # The status is the answer; an id is welcome and not required.
        return ""


def _first_line(answer: Answer) -> str:
    if answer.media_type != "text/plain":
        return ""
    lines = answer.body[: 4 * _TEXT_LIMIT].decode("utf-8", "replace").strip().splitlines()
    # A text in brackets at the start of a reply belongs to the gateway.
    return _UNPRINTABLE.sub("?", lines[0]).lstrip("[ ")[:_TEXT_LIMIT].rstrip() if lines else ""


def _printable(text: str) -> str:
    return _UNPRINTABLE.sub("?", text)[:_COORDINATE_LIMIT]
