"""An archive in a directory: three files for each mail, on stable storage before the client reads 250.

A mail received on 21 November 2026 lies at

    2026/11/21/<id>.eml     the content, exactly as received (or flattened, where `metadata = "flatten"`)
    2026/11/21/<id>.bmtd    the metadata containers, each as `BMTD <n>` CRLF and its octets; only where there are any
    2026/11/21/<id>.json    the envelope; written last: a mail without it was never accepted

Days are those of UTC. Nothing is ever overwritten or deleted: how long an archive is kept is for its owner to say.
An S3 bucket in the `message` layout has the same keys, and `mailsluice verify` checks the digests.
"""

from connectors.directory.connector import DirectoryConnector
from connectors.directory.settings import DirectorySettings
from gateway.connector import ConnectorType

__all__ = ["CONNECTOR", "DirectoryConnector", "DirectorySettings"]

CONNECTOR = ConnectorType(
    name="directory",
    summary="Keeps every mail as files in a directory tree, one folder a day.",
    stability="stable",
    settings=DirectorySettings,
    build=lambda settings, _: DirectoryConnector(settings),
    max_in_flight=DirectoryConnector.MAX_IN_FLIGHT,
)
