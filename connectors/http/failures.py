"""The one place where what can go wrong with a request becomes a failure of the delivery.

All of it is transient: the consumer has not said no. Once a request has left whole, the consumer may have the mail, and
what then goes wrong says so (`possibly_stored`); before, it cannot have it. No text of an exception goes into a failure
as it is, since aiohttp's name the URL, whose query may hold a secret.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp

from connectors.http.upload import Upload
from gateway.connector import TransientFailure
from gateway.status import DESTINATION_UNREACHABLE, DESTINATION_UNRESPONSIVE, LOCAL_ERROR

__all__ = ["translated", "unreadable"]

_UNREACHABLE = "the destination cannot be reached, try again later"


@contextmanager
def translated(upload: Upload, timeout_seconds: float) -> Iterator[None]:
    """Raise TransientFailure for what aiohttp, the timeout or the content's file raise while `upload` is sent."""
    try:
        yield
    except TimeoutError as exc:
        raise TransientFailure(
            DESTINATION_UNRESPONSIVE,
            "the destination did not answer in time, try again later",
            cause=f"no complete answer within {timeout_seconds:g} seconds",
            possibly_stored=upload.is_out,
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
        raise TransientFailure(
            DESTINATION_UNRESPONSIVE,
            "the connection to the destination broke, try again later",
            cause=_kind(exc),
            possibly_stored=upload.is_out,
        ) from exc
    except OSError as exc:
        raise unreadable(exc) from exc


def unreadable(error: OSError) -> TransientFailure:
    """The failure of a mail whose content cannot be read here."""
    return TransientFailure(LOCAL_ERROR, "the mail could not be read, try again later", cause=f"content: {error}")


def _kind(exc: aiohttp.ClientError) -> str:
    kind = type(exc).__name__
    if isinstance(exc, OSError) and exc.errno is not None:
        # The number's own words, because aiohttp's may have the URL in them.
        return f"{kind}: {os.strerror(exc.errno)}"
    if isinstance(exc, aiohttp.ClientResponseError):
        return f"{kind}: the answer is not HTTP, or its header is too large"
    return kind
