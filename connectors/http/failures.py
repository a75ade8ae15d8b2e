"""The one place where what can go wrong with a request becomes a failure of the delivery.

All of it is transient: the consumer has not said no. Where a request may have been read and its answer was lost, the
same mail comes again under the same id. No text of an exception goes into a failure as it is, since aiohttp's name the
URL, whose query may hold a secret.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp

from gateway.connector import TransientFailure
from gateway.status import DESTINATION_UNREACHABLE, DESTINATION_UNRESPONSIVE, LOCAL_ERROR

__all__ = ["cut_short", "translated"]

_UNREACHABLE = "the destination cannot be reached, try again later"


@contextmanager
def translated(timeout_seconds: float) -> Iterator[None]:
    """Raise TransientFailure for what aiohttp, the deadline or the content's file raise in the block."""
    try:
        yield
    except TimeoutError as exc:
        raise TransientFailure(
            DESTINATION_UNRESPONSIVE,
            "the destination did not answer in time, try again later",
            cause=f"no complete answer within {timeout_seconds:g} seconds",
        ) from exc
    except aiohttp.ClientConnectorCertificateError as exc:
        reason = getattr(exc.certificate_error, "verify_message", "") or type(exc.certificate_error).__name__
        raise TransientFailure(DESTINATION_UNREACHABLE, _UNREACHABLE, cause=f"TLS certificate: {reason}") from exc
    except aiohttp.ClientConnectorDNSError as exc:
        raise TransientFailure(DESTINATION_UNREACHABLE, _UNREACHABLE, cause=f"DNS: {exc.os_error}") from exc
    except aiohttp.ClientSSLError as exc:
        raise TransientFailure(DESTINATION_UNREACHABLE, _UNREACHABLE, cause=f"TLS: {exc.os_error}") from exc
    except aiohttp.ClientConnectorError as exc:
        raise TransientFailure(DESTINATION_UNREACHABLE, _UNREACHABLE, cause=str(exc.os_error)) from exc
    except aiohttp.ClientError as exc:
        raise cut_short(_kind(exc)) from exc
    except OSError as exc:
        raise TransientFailure(
            LOCAL_ERROR, "the mail could not be read, try again later", cause=f"content: {exc}"
        ) from exc


def cut_short(cause: str) -> TransientFailure:
    """The failure of an exchange that had begun and has no whole answer."""
    return TransientFailure(
        DESTINATION_UNRESPONSIVE, "the connection to the destination broke, try again later", cause=cause
    )


def _kind(exc: aiohttp.ClientError) -> str:
    kind = type(exc).__name__
    if isinstance(exc, OSError) and exc.errno is not None:
        # The number's own words, because aiohttp's may have the URL in them.
        return f"{kind}: {os.strerror(exc.errno)}"
    if isinstance(exc, aiohttp.ClientResponseError):
        return f"{kind}: the answer is not HTTP, or its header is too large"
    return kind
