"""What proves to the consumer who we are: signing keys, the Authorization header, the client certificate."""

import base64
import ssl
from dataclasses import dataclass, field
from pathlib import Path

from connectors.http.settings import BEARER_TOKEN, HttpSettings
from connectors.http.signature import SecretError, decode_secret
from gateway.connector import PermanentFailure
from gateway.credentials import CredentialsError, client_tls, read_secret, secret_of
from gateway.status import UNUSABLE

__all__ = ["Credentials", "read_credentials"]


@dataclass(frozen=True, slots=True)
class Credentials:
    """The keys and headers to send with, never shown; `tls` is None for plain HTTP."""

    signing_keys: tuple[bytes, ...] = field(repr=False)
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    tls: ssl.SSLContext | None


def read_credentials(settings: HttpSettings) -> Credentials:
    """Read the files that `settings` name. Raises PermanentFailure when one is of no use; its cause names it."""
    keys = [decode_secret(secret.get_secret_value()) for secret in settings.secrets]
    headers = [(name, value.get_secret_value()) for name, value in settings.headers.items()]
    tls = None
    try:
        keys += map(_signing_key, settings.secret_files)
        if authorization := _authorization(settings):
            headers.append(("Authorization", authorization))
        if settings.is_https:
            tls = client_tls(
                tls_ca_file=settings.tls_ca_file,
                tls_cert_file=settings.tls_cert_file,
                tls_key_file=settings.tls_key_file,
            )
    except CredentialsError as error:
        raise PermanentFailure(UNUSABLE, "the destination is not configured correctly", cause=str(error)) from error
    return Credentials(tuple(keys), tuple(headers), tls)


def _signing_key(path: Path) -> bytes:
    try:
        return decode_secret(read_secret(path))
    except SecretError as error:
        raise CredentialsError(f"the secret file {path} cannot be used: {error}") from None


def _authorization(settings: HttpSettings) -> str:
    token = secret_of(settings.bearer_token, settings.bearer_token_file).get_secret_value()
    if token:
        if not BEARER_TOKEN.match(token):
            raise CredentialsError(
                f"bearer_token_file {settings.bearer_token_file} cannot be used: a bearer token is visible ASCII "
                "without spaces"
            )
        return f"Bearer {token}"
    if settings.username:
        password = secret_of(settings.password, settings.password_file).get_secret_value()
        return "Basic " + base64.b64encode(f"{settings.username}:{password}".encode()).decode()
    return ""
