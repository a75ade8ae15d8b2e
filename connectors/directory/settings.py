"""The keys of a `[[connector]]` table of type `directory`."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from gateway.connector import ConnectorSettings

__all__ = ["DirectorySettings"]


class DirectorySettings(ConnectorSettings):
    """Where the archive lies."""

    type: Literal["directory"] = "directory"
    path: Annotated[
        Path,
        Field(
            description="The archive's directory. It is made where it does not exist; nothing else should write there."
        ),
    ]
    single_instance: Annotated[
        bool,
        Field(
            description="Whether mails of the same content share one file, by hard links. All of the archive has to be "
            "on one file system."
        ),
    ] = False

    @model_validator(mode="after")
    def _content_can_be_shared(self) -> Self:
        if self.single_instance and self.metadata == "flatten":
            raise ValueError(
                'single_instance needs metadata = "preserve": flattened content differs from mail to mail, by the trace'
            )
        return self
