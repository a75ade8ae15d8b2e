"""The service extensions, one file each. A new one is its file and a line in EXTENSIONS."""

from collections.abc import Collection

from gateway.smtp.extension import Extension, ExtensionTable, Policy
from gateway.smtp.extensions.auth import Auth
from gateway.smtp.extensions.binarymime import BinaryMime
from gateway.smtp.extensions.chunking import Chunking
from gateway.smtp.extensions.dsn import Dsn
from gateway.smtp.extensions.eight_bit_mime import EightBitMime
from gateway.smtp.extensions.enhanced_status_codes import EnhancedStatusCodes
from gateway.smtp.extensions.help import Help
from gateway.smtp.extensions.metadata import Metadata
from gateway.smtp.extensions.pipelining import Pipelining
from gateway.smtp.extensions.size import Size
from gateway.smtp.extensions.smtputf8 import SmtpUtf8
from gateway.smtp.extensions.starttls import StartTls
from gateway.smtp.extensions.stoken import Stoken
from gateway.smtp.extensions.xreplymeta import XReplyMeta

__all__ = [
    "EXTENSIONS",
    "Auth",
    "BinaryMime",
    "Chunking",
    "Dsn",
    "EightBitMime",
    "EnhancedStatusCodes",
    "Help",
    "Metadata",
    "Pipelining",
    "Size",
    "SmtpUtf8",
    "StartTls",
    "Stoken",
    "XReplyMeta",
    "extension_table",
]

EXTENSIONS: tuple[type[Extension], ...] = (
    Pipelining,
    Size,
    EightBitMime,
    SmtpUtf8,
    EnhancedStatusCodes,
    Chunking,
    BinaryMime,
    Dsn,
    StartTls,
    Auth,
    Metadata,
    XReplyMeta,
    Stoken,
    Help,
)


def extension_table(policy: Policy, *, disabled: Collection[str] = ()) -> ExtensionTable:
    """The extensions of a listener, without those whose keywords are in `disabled` or that need one of them.

    Withdrawing CHUNKING withdraws METADATA and BINARYMIME with it (B2).
    """
    enabled: list[Extension] = []
    declined: list[Extension] = []
    for extension_type in EXTENSIONS:
        extension = extension_type.for_policy(policy)
        if extension is None:
            declined.append(extension_type())
        elif extension_type.keyword in disabled or not _present(extension_type.requires, enabled):
            declined.append(extension)
        else:
            enabled.append(extension)
    return ExtensionTable(enabled, disabled=declined)


def _present(keywords: Collection[str], enabled: Collection[Extension]) -> bool:
    return set(keywords) <= {extension.keyword for extension in enabled}
