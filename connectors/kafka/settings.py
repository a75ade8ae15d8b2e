"""The keys of a `[[connector]]` table of type `kafka`."""

import re
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, ConfigDict, Field, FilePath, SecretStr

from gateway.connector import ConnectorSettings
from gateway.template import Template

__all__ = ["KafkaSettings"]

_SERVER = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):(?P<port>[0-9]{1,5})\Z")
_FIELD = re.compile(r"\{[^{}]*\}")
_TOPIC_LITERAL = re.compile(r"[A-Za-z0-9._-]*\Z")


def _check_server(server: str) -> str:
    match = _SERVER.match(server)
    if match is None or not 0 < int(match["port"]) < 65536:
        raise ValueError(f'"{server}" is no broker address; write "host:port" or "[2001:db8::1]:port"')
    return server


def _check_template(text: str) -> str:
    Template(text)
    return text


def _check_topic(text: str) -> str:
    literal = _FIELD.sub("", _check_template(text))
    if not _TOPIC_LITERAL.match(literal):
        raise ValueError("a topic's name has letters, digits, '.', '_' and '-' only")
    if text in ("", ".", "..") or len(literal) > 249:
        raise ValueError("a topic's name has 1 to 249 characters and is not '.' or '..'")
    return text


def _check_registry(url: str) -> str:
    if not url:
        return url
    try:
        parts = urlsplit(url)
        has_host = bool(parts.hostname) and parts.port != 0
    except ValueError:
        has_host = False
    # No secret may stand in a text that is shown, so the URL is not quoted here.
    if not has_host or parts.scheme not in ("http", "https"):
        raise ValueError("the URL has to begin with http:// or https:// and a host")
    if "@" in parts.netloc:
        raise ValueError("credentials do not belong in the URL; use schema_registry_username and its password")
    if parts.query or parts.fragment:
        raise ValueError("the URL ends with its path; remove what follows the ? or #")
    return url.rstrip("/")


class KafkaSettings(ConnectorSettings):
    """A topic, or several, on the brokers of one Kafka cluster."""

    # An error text that quotes its input would show secrets.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    type: Literal["kafka"] = "kafka"
    bootstrap_servers: Annotated[
        tuple[Annotated[str, AfterValidator(_check_server)], ...],
        Field(
            min_length=1, description="Brokers to ask first for the others, each as `host:port`; tried in this order."
        ),
    ]
    topic: Annotated[
        str,
        AfterValidator(_check_topic),
        Field(
            description="The topic, a template. Characters that a topic cannot have become `_`. Topics must exist; "
            "where the brokers make them on demand, a template over the sender lets strangers make topics."
        ),
    ]
    key: Annotated[
        str,
        AfterValidator(_check_template),
        Field(
            description="The record's key, a template. With the id, a mail that comes again goes to the same "
            "partition. Empty for no key."
        ),
    ] = "{id}"
    format: Annotated[
        Literal["cloudevents-json", "avro", "raw"],
        Field(
            description="`cloudevents-json`: the envelope as JSON, content inside, as a CloudEvent. `avro`: the same "
            "as Avro. `raw`: the content itself (message/rfc822), everything else in headers."
        ),
    ] = "cloudevents-json"
    content_mode: Annotated[
        Literal["binary", "structured"],
        Field(
            description="How `cloudevents-json` carries the event's attributes: in headers (`binary`) or beside the "
            "envelope in one JSON object (`structured`)."
        ),
    ] = "binary"
    schema_registry_url: Annotated[
        str,
        AfterValidator(_check_registry),
        Field(
            description="Where `avro` registers its schema, under the subject `<topic>-value`; each value then begins "
            "with the schema's id, in the framing of Confluent. Without it a value is the bare datum."
        ),
    ] = ""
    schema_registry_username: Annotated[str, Field(description="The user at the schema registry.")] = ""
    schema_registry_password: Annotated[SecretStr, Field(description="The password of that user.")] = SecretStr("")
    schema_registry_password_file: Annotated[
        FilePath | None, Field(description="A file that holds the password of that user.")
    ] = None
    compression: Annotated[
        Literal["none", "gzip", "snappy", "lz4", "zstd"], Field(description="How batches of records are compressed.")
    ] = "zstd"
    inline_max_bytes: Annotated[
        int,
        Field(
            ge=0,
            description="The largest content that a record carries. In JSON it is a third larger, so the default stays "
            "below the 1 MiB that brokers take.",
        ),
    ] = 700 * 1024
    claim_check: Annotated[
        str,
        Field(
            description="The name of another connector, which stores the content of mails too large for a record; the "
            "record then says where. Without it such mails are refused."
        ),
    ] = ""
    max_request_bytes: Annotated[
        int,
        Field(
            ge=4096,
            le=64 * 1024 * 1024,
            description="The largest record, headers included, before compression. Keep it at or below "
            "`max.message.bytes` of the topics.",
        ),
    ] = 1024 * 1024
    linger_milliseconds: Annotated[
        int,
        Field(
            ge=0,
            le=1000,
            description="How long a record may wait for others to share its batch. Those that come while a request is "
            "under way share the next one in any case.",
        ),
    ] = 0
    tls: Annotated[bool, Field(description="Whether the brokers are spoken to over TLS.")] = False
    tls_ca_file: Annotated[
        FilePath | None,
        Field(description="PEM certificates to trust instead of the system's, for brokers and registry."),
    ] = None
    tls_cert_file: Annotated[
        FilePath | None, Field(description="The client certificate for mutual TLS, in PEM, with its chain.")
    ] = None
    tls_key_file: Annotated[
        FilePath | None,
        Field(description="The unencrypted private key of `tls_cert_file`, where it is in a file of its own."),
    ] = None
    sasl_mechanism: Annotated[
        Literal["none", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"],
        Field(description="How to log in to the brokers. `PLAIN` needs TLS: it sends the password as it is."),
    ] = "none"
    sasl_username: Annotated[str, Field(description="The user at the brokers.")] = ""
    sasl_password: Annotated[SecretStr, Field(description="The password of that user.")] = SecretStr("")
    sasl_password_file: Annotated[
        FilePath | None, Field(description="A file that holds the password of that user.")
    ] = None

    def references(self) -> tuple[str, ...]:
        """The claim check's connector."""
        return (self.claim_check,) if self.claim_check else ()

    def wrong_combinations(self) -> tuple[tuple[bool, str], ...]:
        registry, https = bool(self.schema_registry_url), self.schema_registry_url.startswith("https:")
        registry_password = bool(self.schema_registry_password) + bool(self.schema_registry_password_file)
        sasl, sasl_password = self.sasl_mechanism != "none", bool(self.sasl_password) + bool(self.sasl_password_file)
        return (
            (
                self.content_mode == "structured" and self.format != "cloudevents-json",
                'content_mode is for the format "cloudevents-json"',
            ),
            (registry and self.format != "avro", 'schema_registry_url is for the format "avro"'),
            (
                bool(self.schema_registry_username) != bool(registry_password) or registry_password > 1,
                "schema_registry_username goes with one of schema_registry_password and schema_registry_password_file",
            ),
            (":" in self.schema_registry_username, "schema_registry_username has no colon (RFC 7617)"),
            (bool(registry_password) and not registry, "schema_registry_username is for a schema_registry_url"),
            (
                self.inline_max_bytes >= self.max_request_bytes,
                "inline_max_bytes has to be smaller than max_request_bytes: a record has headers too",
            ),
            (
                self.claim_check == self.name,
                "claim_check names this connector itself; name another one, such as an s3 or directory connector",
            ),
            (self.tls_key_file is not None and self.tls_cert_file is None, "tls_key_file goes with tls_cert_file"),
            (self.tls_cert_file is not None and not self.tls, "tls_cert_file is for tls = true"),
            (
                self.tls_ca_file is not None and not (self.tls or https),
                "tls_ca_file is for tls = true or a schema_registry_url that begins with https:",
            ),
            (
                sasl and not (self.sasl_username and sasl_password == 1),
                "sasl_mechanism needs sasl_username and one of sasl_password and sasl_password_file",
            ),
            (
                not sasl and bool(self.sasl_username or sasl_password),
                "sasl_username and its password need a sasl_mechanism",
            ),
            (
                self.sasl_mechanism == "PLAIN" and not self.tls,
                'sasl_mechanism = "PLAIN" sends the password as it is; set tls = true, or use "SCRAM-SHA-512"',
            ),
        )
