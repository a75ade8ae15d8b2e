"""The tables from which the tests put a configuration together, as an operator would write them."""

import json

from tests.connectors.http.consumers import SECRET
from tests.servers.kafka import KafkaCluster
from tests.servers.s3 import S3Server

LISTENERS = """
[gateway]
hostname = "mx.example.org"

[[listener]]
name = "smtp"
protocol = "smtp"
bind = "127.0.0.1:0"

[[listener]]
name = "lmtp"
protocol = "lmtp"
bind = "127.0.0.1:0"
"""


def route(*connectors: str, recipients: str = "*@example.org") -> str:
    """A route of its own for these recipients."""
    return f"\n[[route]]\nrecipients = {json.dumps([recipients])}\nconnectors = {json.dumps(connectors)}\n"


def spooled(*connectors: str, recipients: str = "*@example.org", bounce_via: str = "") -> str:
    """A route whose mail is accepted into the spool."""
    bounces = f'bounce_via = "{bounce_via}"\n' if bounce_via else ""
    return f'{route(*connectors, recipients=recipients)}accept = "spooled"\n{bounces}'


def directory(*lines: str, name: str = "archive", path: str = "mail") -> str:
    """A directory below the gateway's own. `lines` are further keys, here as in the others."""
    return _connector(name, "directory", f'path = "{path}"', *lines)


def kafka(cluster: KafkaCluster, topic: str, *lines: str, name: str = "events") -> str:
    """A topic, over the plaintext listeners."""
    servers = json.dumps(cluster.bootstrap.split(","))
    return _connector(name, "kafka", f"bootstrap_servers = {servers}", f'topic = "{topic}"', *lines)


def s3(server: S3Server, bucket: str, *lines: str, name: str = "objects") -> str:
    """A bucket."""
    return _connector(
        name,
        "s3",
        f'bucket = "{bucket}"',
        f'endpoint_url = "{server.endpoint_url}"',
        f'region = "{server.region}"',
        "path_style = true",
        f'access_key_id = "{server.access_key}"',
        f'secret_access_key = "{server.secret_key}"',
        *lines,
    )


def http(url: str, *lines: str, name: str = "consumer", form: str = "raw") -> str:
    """A consumer, signed to with SECRET."""
    return _connector(name, "http", f'url = "{url}"', f'format = "{form}"', f'secrets = ["{SECRET}"]', *lines)


def smtp(address: str, *lines: str, name: str = "next") -> str:
    """The next mail server, at `host:port`."""
    host, _, port = address.rpartition(":")
    return _connector(name, "smtp", f'host = "{host}"', f"port = {port}", *lines)


def _connector(name: str, type_: str, *lines: str) -> str:
    return "\n".join(("", "[[connector]]", f'name = "{name}"', f'type = "{type_}"', *lines, ""))
