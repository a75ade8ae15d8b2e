"""An archive in a bucket of S3, or of a store that speaks its protocol with conditional writes and SHA-256 checksums.

In the `message` layout a mail received on 21 November 2026 is these objects, with the keys of a directory archive:

    <prefix>2026/11/21/<id>.eml     the content, exactly as received (or flattened, where `metadata = "flatten"`)
    <prefix>2026/11/21/<id>.bmtd    the metadata containers, each as `BMTD <n>` CRLF and its octets; where there are any
    <prefix>2026/11/21/<id>.json    the envelope; written last: a mail without it was never accepted

With `single_instance = true` the content is stored once for all mails that have it, below what `prefix` expands to,

    <prefix>content/ab/<sha256>.eml                               the content, to which envelopes refer
    <prefix>content/ab/<sha256>/refs/YYYY/MM/DD/<id>/<attempt>    an empty object for each mail that has it

which takes three requests more for a mail with new content, and sends no content that is there already: that is looked
up, and used if its size and digest are those received; otherwise, and while its deletion is pending, a mail has an
`.eml` of its own. S3 changes objects one at a time only, so mails are to be removed by `mailsluice archive remove`, and
shared content by `mailsluice archive collect` alone, never by a lifecycle rule. A collection condemns what no mail
refers to, and a later one deletes it after the grace time; both may run while gateways store mail, but one collection
at a time. It needs a store whose answers are those of now (consistent listings, in the order of keys), as S3's are
except in directory buckets. A crash, or a collection that is never run, leaves content that nobody needs, never a mail
without its content. Prefixes are apart: `prefix = "{recipient_domain}/"` keeps one tenant from noticing, by a mail that
takes less time, what another was sent.

In the `batch` layout many mails are records of one Avro object container file,

    <prefix>2026/11/21/<id of the first mail>-<number of mails>-<digest>.avro

and the answer to each waits until the file is stored. The content of a mail above `batch_max_bytes` is an object
`<id>.eml`, to which the record refers; one to which none refers is what an interrupted delivery left. A mail that came
again because its outcome was unknown may be in two files, under one id.

Nothing is ever overwritten, and the store checks every object against its SHA-256. Large objects go in parts. An upload
that a crash interrupted is aborted when its mail comes again, or at a start an hour later or more; a lifecycle rule of
the bucket should do so too.
A small object, of up to 256 KB, does not go all of boto3's way, which would take it twice the processor's time: of
boto3 only the signature and the connections are used, with its credentials, proxies and certificates. In a directory
bucket, and in one to which such a request is redirected, boto3 sends these too.
The credentials need `s3:PutObject`, `s3:GetObject`, `s3:AbortMultipartUpload` and `s3:ListBucketMultipartUploads`; for
tags and retention also `s3:PutObjectTagging` and `s3:PutObjectRetention`; for shared
content also `s3:ListBucket` and `s3:DeleteObject`, which `mailsluice archive` needs too.

`mailsluice replay --s3` reads all of these forms again, with `s3:ListBucket` and `s3:GetObject`; `--prefix` narrows
what is listed. Each content is checked against its envelope, containers against their `.bmtd`, and an Avro file against
the digest and the number in its key.
"""

from collections.abc import Mapping

from connectors.s3.settings import S3Settings
from connectors.s3.verification import spot
from gateway.connector import Connector, ConnectorType, Source

__all__ = ["CONNECTOR", "S3Settings"]


def _build(settings: S3Settings, _: Mapping[str, Connector]) -> Connector:
    # boto3 takes a third of a second to import, and is an extra: only whoever configures a bucket needs it.
    from connectors.s3.connector import S3Connector  # noqa: PLC0415

    return S3Connector(settings)


def _source(settings: S3Settings) -> Source:
    from connectors.s3.reading import S3Source  # noqa: PLC0415  # as above

    return S3Source(settings)


CONNECTOR = ConnectorType(
    name="s3",
    summary="Keeps mails in a bucket: as objects of their own, or many in one Avro file.",
    stability="stable",
    settings=S3Settings,
    build=_build,
    # In the batch layout most of them only wait.
    max_in_flight=1000,
    source=_source,
    coordinates=("bucket", "key", "version", "etag", "index"),
    spot=spot,
)
