"""An archive in a directory: three files for each mail, on stable storage before the client reads 250.

A mail received on 21 November 2026 lies at

    2026/11/21/<id>.eml     the content, exactly as received (or flattened, where `metadata = "flatten"`)
    2026/11/21/<id>.bmtd    the metadata containers, each as `BMTD <n>` CRLF and its octets; only where there are any
    2026/11/21/<id>.json    the envelope; written last: a mail without it was never accepted

and where `single_instance = true`, which leaves the rest as it is, also

    content/ab/<sha256>.eml the content once more, the same file (a hard link): further mails with it get it from there

Days are those of UTC. Nothing is ever overwritten or deleted: how long an archive is kept is for its owner to say.
A mail is deleted by removing its files, the envelope first, as `mailsluice archive remove` does; that breaks no other
mail, and `mailsluice archive collect` frees shared content when the last mail with it is gone. A shared file that was
changed is no longer given to further mails, but is what those that have it now read: never change a file in place.
An S3 bucket in the `message` layout has the same keys, `mailsluice verify` checks the digests, and `mailsluice replay
--archive` gives the mails to any connector again, as they came in; not those that were flattened.
"""

from connectors.directory.connector import DirectoryConnector
from connectors.directory.reading import DirectorySource
from connectors.directory.settings import DirectorySettings
from connectors.directory.verification import spot
from gateway.connector import ConnectorType

__all__ = ["CONNECTOR", "DirectoryConnector", "DirectorySettings"]

CONNECTOR = ConnectorType(
    name="directory",
    summary="Keeps every mail as files in a directory tree, one folder a day.",
    stability="stable",
    settings=DirectorySettings,
    build=lambda settings, _: DirectoryConnector(settings),
    max_in_flight=DirectoryConnector.MAX_IN_FLIGHT,
    coordinates=("path",),
    spot=spot,
    source=DirectorySource,
)
