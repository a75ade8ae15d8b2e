"""What the engine must remember of one mail transaction; a new one takes its place at every end of a transaction.

There is no other way to reset a transaction than to replace it, so nothing of an old one can be left behind
(RFC 5321 §4.1.1.5; receivers that reset field by field have accepted mail without MAIL or RCPT).
"""

from gateway.line_ends import LineEndCheck
from gateway.smtp.events import MailReceived
from gateway.smtp.reply import Reply

__all__ = ["Transaction"]


class Transaction:
    """`failure` is why the transaction cannot complete any more; `failure_told` whether the client has read it.

    `content_octets` and `metadata_octets` are what the client has sent so far, `refused_octets` what came in chunks
    after it was told of the failure, `recipients` the accepted ones, `referred` those that were referred elsewhere,
    `recipients_tried` whether there was any RCPT at all, `reply_codes` the response codes that the client asked for.
    """

    __slots__ = (
        "chunks",
        "container_types",
        "content_octets",
        "extensions",
        "failure",
        "failure_told",
        "line_ends",
        "mail",
        "metadata_octets",
        "recipients",
        "recipients_tried",
        "referred",
        "refused_octets",
        "reply_codes",
    )

    def __init__(self) -> None:
        self.mail: MailReceived | None = None
        self.recipients = 0
        self.referred = 0
        self.recipients_tried = False
        self.content_octets = 0
        self.metadata_octets = 0
        self.refused_octets = 0
        self.chunks = 0
        self.container_types: list[int] = []
        self.line_ends = LineEndCheck()
        self.extensions: set[str] = set()
        self.reply_codes: frozenset[str] = frozenset()
        self.failure: Reply | None = None
        self.failure_told = False
