"""Connectors as a third party would install them, for tests of what finds and starts them."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from gateway.connector import (
    Connector,
    ConnectorSettings,
    ConnectorType,
    Mail,
    PermanentFailure,
    Receipt,
)
from gateway.status import ADMINISTRATIVE_REFUSAL


class Retry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    attempts: int = 3
    pause_seconds: float = 1.0


class SampleSettings(ConnectorSettings):
    password: SecretStr = SecretStr("")
    port: Annotated[int, Field(ge=1, le=65535)] = 9000
    copy_to: str = ""
    opening: Literal["", "fails"] = ""
    retry: Retry = Retry()

    @field_validator("password")
    @classmethod
    def _long_enough(cls, password: SecretStr) -> SecretStr:
        if password.get_secret_value() and len(password.get_secret_value()) < 8:
            raise ValueError("a password has 8 or more characters")
        return password

    def references(self) -> tuple[str, ...]:
        return (self.copy_to,) if self.copy_to else ()


class Sample:
    """Takes every mail and keeps none."""

    def __init__(self, settings: SampleSettings, references: Mapping[str, Connector]) -> None:
        self.settings = settings
        self.references = references

    async def open(self) -> None:
        if self.settings.opening == "fails":
            raise PermanentFailure(ADMINISTRATIVE_REFUSAL, "not available", cause="the password is wrong")

    async def emit(self, mail: Mail) -> Receipt:
        return Receipt(
            id=mail.envelope.id,
            connector=self.settings.name,
            type=self.settings.type,
            location={"port": self.settings.port},
        )

    async def close(self) -> None:
        pass


def _lazy(settings: ConnectorSettings, references: Mapping[str, Connector]) -> Connector:
    import a_library_that_is_absent  # noqa: PLC0415  # what a connector with an extra does

    return a_library_that_is_absent.connect(settings, references)


CONNECTOR = ConnectorType(
    name="sample",
    summary="Takes every mail and keeps none.",
    stability="experimental",
    settings=SampleSettings,
    build=Sample,
    max_in_flight=256,
)
LAZY = ConnectorType(
    name="lazy",
    summary="Imports its library when it is built.",
    stability="experimental",
    settings=ConnectorSettings,
    build=_lazy,
    max_in_flight=8,
)
