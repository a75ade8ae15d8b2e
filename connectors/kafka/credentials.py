"""What lets us in at the brokers and the schema registry: certificates and passwords, read from their files once."""

import ssl
from dataclasses import dataclass

from pydantic import SecretStr

from connectors.kafka import failures
from connectors.kafka.settings import KafkaSettings
from gateway.credentials import CredentialsError, client_tls, secret_of

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
    try:
        return Credentials(
            tls=_broker_tls(settings) if settings.tls else None,
            password=secret_of(settings.sasl_password, settings.sasl_password_file),
            registry_tls=client_tls(tls_ca_file=settings.tls_ca_file),
            registry_password=secret_of(settings.schema_registry_password, settings.schema_registry_password_file),
        )
    except CredentialsError as error:
        raise failures.unusable(str(error)) from error


def _broker_tls(settings: KafkaSettings) -> ssl.SSLContext:
    return client_tls(
        tls_ca_file=settings.tls_ca_file, tls_cert_file=settings.tls_cert_file, tls_key_file=settings.tls_key_file
    )
