"""The keys of a `[[connector]]` table of type `s3`."""

import re
from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from gateway.connector import ConnectorSettings
from gateway.template import Template

__all__ = ["S3Settings"]

_MEBIBYTE = 1024 * 1024
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-tagging.html
_TAGS = 10
_TAG = re.compile(r"[\w +\-=.:/@]*")


class S3Settings(ConnectorSettings):
    """Which bucket, as whom, under which keys and on which terms."""

    type: Literal["s3"] = "s3"
    bucket: Annotated[str, Field(min_length=1, description="The bucket. It has to exist.")]
    prefix: Annotated[
        str,
        Field(
            description="What stands before `YYYY/MM/DD/` in every key: text with fields of the envelope in it, as in "
            "`mail/{recipient_domain}/`. In a field's value every character but letters, digits and `!_.@+=-` is `_`."
        ),
    ] = ""
    endpoint_url: Annotated[
        str,
        Field(pattern=r"^(https?://.+)?$", description="The store's URL; empty for the one of AWS in the region."),
    ] = ""
    region: Annotated[str, Field(description="The region; empty to ask the SDK's own configuration.")] = ""
    path_style: Annotated[
        bool, Field(description="Whether the bucket stands in the path of a URL, not in the host name.")
    ] = False
    access_key_id: Annotated[
        str,
        Field(
            description="The access key. Without one the SDK looks in the environment, its files and the machine's "
            "role."
        ),
    ] = ""
    secret_access_key: Annotated[SecretStr, Field(description="The secret of the access key.")] = SecretStr("")
    layout: Annotated[
        Literal["message", "batch"],
        Field(
            description="`message`: the objects `<id>.eml`, `<id>.bmtd` and `<id>.json` for each mail. `batch`: many "
            "mails in one Avro object container file, which costs a fraction of the requests."
        ),
    ] = "message"
    single_instance: Annotated[
        bool,
        Field(
            description="Whether mails of the same content share one object, within what `prefix` expands to. For the "
            "`message` layout, without `object_lock_mode`."
        ),
    ] = False
    storage_class: Annotated[
        str, Field(description="The storage class, such as `STANDARD_IA`; empty for the bucket's.")
    ] = ""
    sse: Annotated[
        Literal["", "AES256", "aws:kms"],
        Field(description="Encryption by the store: `AES256`, `aws:kms`, or empty for the bucket's default."),
    ] = ""
    kms_key_id: Annotated[str, Field(description="The key for `aws:kms`; empty for the account's own.")] = ""
    tags: Annotated[
        dict[str, str], Field(default_factory=dict, max_length=_TAGS, description="Tags of every object, at most ten.")
    ]
    object_lock_mode: Annotated[
        Literal["", "GOVERNANCE", "COMPLIANCE"],
        Field(description="Retention of every object, in a bucket with object lock; empty for the bucket's default."),
    ] = ""
    object_lock_days: Annotated[
        int, Field(ge=0, le=36500, description="For how many days, counted from when the object is stored.")
    ] = 0
    multipart_threshold_bytes: Annotated[
        int,
        Field(ge=5 * _MEBIBYTE, le=5120 * _MEBIBYTE, description="From which size on an object is uploaded in parts."),
    ] = 16 * _MEBIBYTE
    multipart_part_bytes: Annotated[
        int,
        Field(
            ge=5 * _MEBIBYTE,
            le=5120 * _MEBIBYTE,
            description="The size of a part. It grows by itself where 10,000 parts would not be enough.",
        ),
    ] = 8 * _MEBIBYTE
    batch_max_mails: Annotated[
        int, Field(ge=1, le=1000, description="A batch is stored when it has so many mails.")
    ] = 500
    batch_max_bytes: Annotated[
        int,
        Field(
            ge=_MEBIBYTE,
            le=256 * _MEBIBYTE,
            description="A batch is stored when its contents have so many octets. The content of a mail that is larger "
            "by itself becomes the object `<id>.eml`, and its envelope in the batch refers to it.",
        ),
    ] = 16 * _MEBIBYTE
    batch_max_age_seconds: Annotated[
        float, Field(gt=0, description="A batch is stored at this age. So long a client may wait for its answer.")
    ] = 1.0
    batch_compression: Annotated[Literal["zstandard", "deflate"], Field(description="The codec of the Avro files.")] = (
        "zstandard"
    )
    connections: Annotated[
        int, Field(ge=1, le=256, description="How many requests may run at once; each has a thread and a connection.")
    ] = 16

    @field_validator("prefix")
    @classmethod
    def _names_known_fields(cls, prefix: str) -> str:
        Template(prefix)
        return prefix

    @field_validator("tags")
    @classmethod
    def _tags_fit(cls, tags: dict[str, str]) -> dict[str, str]:
        for key, value in tags.items():
            if not (_TAG.fullmatch(key + value) and 1 <= len(key) <= 128 and len(value) <= 256):
                raise ValueError(
                    f"the tag {key!r} cannot be set: a key has 1 to 128 characters, a value up to 256, and they are "
                    "letters, digits, spaces and + - = . _ : / @"
                )
        return tags

    @model_validator(mode="after")
    def _keys_agree(self) -> Self:
        if bool(self.access_key_id) != bool(self.secret_access_key.get_secret_value()):
            raise ValueError("access_key_id and secret_access_key belong together: give both, or neither")
        if self.kms_key_id and self.sse != "aws:kms":
            raise ValueError('kms_key_id needs sse = "aws:kms"')
        if bool(self.object_lock_mode) != bool(self.object_lock_days):
            raise ValueError("object_lock_mode and object_lock_days belong together: give both, or neither")
        if self.single_instance and self.metadata == "flatten":
            raise ValueError(
                'single_instance needs metadata = "preserve": flattened content differs from mail to mail, by the trace'
            )
        if self.single_instance and self.layout == "batch":
            raise ValueError('single_instance is for layout = "message": the mails of a batch have their content in it')
        if self.single_instance and self.object_lock_mode:
            raise ValueError(
                "single_instance and object_lock_mode exclude each other: the retention of a shared object would end "
                "with that of the first mail"
            )
        if self.layout == "batch" and self.batch_max_age_seconds > self.deadline_seconds / 2:
            raise ValueError(
                "batch_max_age_seconds may be half of deadline_seconds at most: the rest is for storing the batch"
            )
        return self
