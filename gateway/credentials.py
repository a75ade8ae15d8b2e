"""Secrets and certificates in files, for connectors: read once, when the connector is opened.

Every error names the file and what is wrong with it, for the operator, and shows nothing of what is in it.
"""

import ssl
from pathlib import Path

from pydantic import SecretStr

__all__ = ["CredentialsError", "client_tls", "read_secret", "secret_of"]

_SECRET_LIMIT = 64 * 1024


class CredentialsError(ValueError):
    """A file of secrets or certificates is of no use. The text is a sentence for the operator, not for a peer."""


def read_secret(path: Path) -> str:
    """The text in the file without the line end that editors leave there.

    Raises CredentialsError for a file that cannot be read, is empty, is not UTF-8 or has more than 64 KiB.
    """
    try:
        with path.open("rb") as file:
            octets = file.read(_SECRET_LIMIT + 1)
        text = octets.decode()
    except OSError as error:
        raise _secret_error(path, f"it cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        # Its text quotes what could not be decoded.
        raise _secret_error(path, "it is not UTF-8 text") from None
    if len(octets) > _SECRET_LIMIT:
        raise _secret_error(path, "it is too large for a secret")
    if not text.strip():
        raise _secret_error(path, "it is empty")
    return text.rstrip("\r\n")


def secret_of(given: SecretStr, file: Path | None) -> SecretStr:
    """The secret that a setting holds itself, or the file that is named in its place. Raises as `read_secret`."""
    return given if file is None else SecretStr(read_secret(file))


def client_tls(
    *, tls_ca_file: Path | None, tls_cert_file: Path | None = None, tls_key_file: Path | None = None
) -> ssl.SSLContext:
    """A context that verifies the server's certificate and name, against the system's authorities where no file is.

    The arguments are the settings of these names. Raises CredentialsError for files that OpenSSL cannot use.
    """
    try:
        context = ssl.create_default_context(cafile=tls_ca_file)
    except OSError as error:
        raise CredentialsError(
            f"tls_ca_file {tls_ca_file} cannot be used: no PEM certificates could be read from it ({_reason(error)})"
        ) from error
    if tls_cert_file is not None:
        key = f" with tls_key_file {tls_key_file}" if tls_key_file else ""
        try:
            # An empty password, because without one OpenSSL would ask on the terminal for that of an encrypted key.
            context.load_cert_chain(tls_cert_file, tls_key_file, password=b"")
        except OSError as error:
            raise CredentialsError(
                f"tls_cert_file {tls_cert_file}{key} cannot be used: no PEM certificate with its unencrypted private "
                f"key could be read ({_reason(error)})"
            ) from error
    return context


def _secret_error(path: Path, why: str) -> CredentialsError:
    return CredentialsError(f"the secret file {path} cannot be used: {why}")


def _reason(error: OSError) -> str:
    # ssl.SSLError is an OSError whose `reason` is OpenSSL's own word for it (KEY_VALUES_MISMATCH).
    return getattr(error, "reason", None) or error.strerror or str(error)
