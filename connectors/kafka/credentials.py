"""What lets us in at the brokers and the schema registry: certificates and passwords, read from their files once."""

import ssl
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from connectors.kafka import failures
from connectors.kafka.settings import KafkaSettings

__all__ = ["Credentials", "read_credentials"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """Secrets stay in SecretStr until they are sent. `tls` holds for the brokers, `registry_tls` for the registry."""

    tls: ssl.SSLContext | None
    password: SecretStr
    registry_tls: ssl.SSLContext
    registry_password: SecretStr


def read_credentials(settings: KafkaSettings) -> Credentials:
    """Raises PermanentFailure when a file cannot be read or is not what it should be."""
    trusting = _tls_context(settings)
    return Credentials(
        tls=_tls_context(settings, with_certificate=True) if settings.tls else None,
        password=_secret(settings.sasl_password, settings.sasl_password_file),
        registry_tls=trusting,
        registry_password=_secret(settings.schema_registry_password, settings.schema_registry_password_file),
    )


def _tls_context(settings: KafkaSettings, *, with_certificate: bool = False) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=settings.tls_ca_file)
    except (OSError, ValueError) as error:
        raise failures.unusable(f"tls_ca_file {settings.tls_ca_file} cannot be used: {_reason(error)}") from error
    if with_certificate and settings.tls_cert_file:
        try:
            # Without a password to give, an encrypted key would make OpenSSL ask on the terminal.
            context.load_cert_chain(settings.tls_cert_file, settings.tls_key_file, password=lambda: b"")
        except (OSError, ValueError) as error:
            raise failures.unusable(
                f"tls_cert_file {settings.tls_cert_file} cannot be used ({_reason(error)}); certificate and key must "
                "be PEM, belong together, and the key must not be encrypted"
            ) from error
    return context


def _secret(given: SecretStr, file: Path | None) -> SecretStr:
    if file is None:
        return given
    try:
        return SecretStr(file.read_text(encoding="utf-8").rstrip("\r\n"))
    except (OSError, UnicodeDecodeError) as error:
        # The text of a UnicodeDecodeError quotes what it could not decode.
        reason = _reason(error) if isinstance(error, OSError) else "it is not UTF-8"
        raise failures.unusable(f"the password file {file} cannot be used: {reason}") from None


def _reason(error: Exception) -> str:
    # ssl.SSLError is an OSError whose `reason` is OpenSSL's own word for it (KEY_VALUES_MISMATCH).
    return getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
