"""What proves to the consumer who we are: signing keys, the Authorization header, the client certificate."""

import base64
import ssl
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import SecretStr

from connectors.http.settings import BEARER_TOKEN, HttpSettings
from connectors.http.signature import SecretError, decode_secret
from gateway.connector import PermanentFailure
from gateway.status import UNUSABLE

__all__ = ["Credentials", "read_credentials"]

_SECRET_FILE_LIMIT = 64 * 1024


@dataclass(frozen=True, slots=True)
class Credentials:
    """The keys and headers to send with, never shown; `tls` is None for plain HTTP."""

    signing_keys: tuple[bytes, ...] = field(repr=False)
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    tls: ssl.SSLContext | None


def read_credentials(settings: HttpSettings) -> Credentials:
    """Read the files that `settings` name. Raises PermanentFailure when one is of no use; its cause names it."""
    keys = [decode_secret(secret.get_secret_value()) for secret in settings.secrets]
    for path in settings.secret_files:
        try:
            keys.append(decode_secret(_read(path)))
        except SecretError as exc:
            raise _unusable(path, str(exc)) from None
    headers = [(name, value.get_secret_value()) for name, value in settings.headers.items()]
    if authorization := _authorization(settings):
        headers.append(("Authorization", authorization))
    return Credentials(tuple(keys), tuple(headers), _tls(settings) if settings.is_https else None)


def _authorization(settings: HttpSettings) -> str:
    token = _value(settings.bearer_token, settings.bearer_token_file)
    if token:
        if not BEARER_TOKEN.match(token):
            raise _unusable(settings.bearer_token_file, "a bearer token is visible ASCII without spaces")
        return f"Bearer {token}"
    if settings.username:
        password = _value(settings.password, settings.password_file)
        return "Basic " + base64.b64encode(f"{settings.username}:{password}".encode()).decode()
    return ""


def _tls(settings: HttpSettings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=settings.tls_ca_file)
    except OSError as exc:
        raise _unusable(settings.tls_ca_file, f"no PEM certificates could be read from it: {exc.strerror}") from exc
    if settings.tls_cert_file is not None:
        try:
            # An empty password, because without one OpenSSL would ask on the terminal for that of an encrypted key.
            context.load_cert_chain(settings.tls_cert_file, settings.tls_key_file, password=b"")
        except OSError as exc:
            files = (
                f"{settings.tls_cert_file} and {settings.tls_key_file}"
                if settings.tls_key_file
                else str(settings.tls_cert_file)
            )
            raise _unusable(files, "no PEM certificate with its unencrypted private key could be read") from exc
    return context


def _value(given: SecretStr, path: Path | None) -> str:
    return given.get_secret_value() if path is None else _read(path)


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            text = file.read(_SECRET_FILE_LIMIT).decode()
    except OSError as exc:
        raise _unusable(path, f"it cannot be read: {exc.strerror}") from exc
    except UnicodeDecodeError:
        raise _unusable(path, "it is not UTF-8 text") from None
    text = text.strip()
    if not text:
        raise _unusable(path, "it is empty")
    return text


def _unusable(path: Path | str | None, why: str) -> PermanentFailure:
    return PermanentFailure(UNUSABLE, "the destination is not configured correctly", cause=f"{path}: {why}")
