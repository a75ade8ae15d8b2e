"""Other recipients for a replay that is a test: nobody to whom a mail was sent gets it again."""

from collections.abc import Sequence
from time import time

from msgspec import Struct, structs

from gateway.address import Address
from gateway.delivery import covering, parse_pattern
from gateway.envelope import Container, Mail, Metadata, Origin, Parameter, Recipient
from gateway.envelope.metadata import trace_view
from gateway.envelope.trace import rewritten_field

__all__ = ["Rewriting", "UnmatchedRecipientError"]

# RFC 3461 §4.1: nobody shall be told what becomes of a test.
_PARAMETERS = (Parameter(keyword="NOTIFY", value="NEVER"),)


class UnmatchedRecipientError(Exception):
    """A recipient has no address to be replaced by. The text names the recipient."""


class Rewriting(Struct, frozen=True, kw_only=True):
    """Patterns of recipients, and what stands in their places; the first that matches counts.

    `hostname` is this gateway's, for the trace.
    """

    rules: tuple[tuple[str, Address], ...]
    hostname: str

    def __str__(self) -> str:
        return ", ".join(f"{pattern}={address.raw}" for pattern, address in self.rules)

    def apply(self, mail: Mail) -> Mail:
        """The mail to the addresses that stand in for its recipients, each once and without their ESMTP parameters.

        NOTIFY=NEVER is asked for. A Received field on top of this gateway's own trace says that this was done; the
        content and the containers that came in stay as they are. Raises UnmatchedRecipientError.
        """
        recipients = mail.envelope.envelope.recipients
        wanted = dict.fromkeys(self._replacement(recipient.address) for recipient in recipients)
        transaction = structs.replace(
            mail.envelope.envelope,
            recipients=tuple(Recipient(address=address, parameters=_PARAMETERS) for address in wanted),
        )
        field = rewritten_field(hostname=self.hostname, id_=mail.envelope.id, recipients=list(wanted), when=time())
        metadata = _with_trace(mail.envelope.metadata, field)
        return Mail(structs.replace(mail.envelope, envelope=transaction, metadata=metadata), mail.content)

    def _replacement(self, address: Address) -> Address:
        # RFC 5321 §4.5.1: <Postmaster> without a domain is the host's own.
        keys = set(covering((address.local_part.lower(), (address.domain or self.hostname).lower())))
        for pattern, replacement in self.rules:
            if parse_pattern(pattern) in keys:
                return replacement
        raise UnmatchedRecipientError(f"no --rewrite-recipient has a pattern for <{address.raw}>, so nobody gets it")


def _with_trace(metadata: Metadata, field: bytes) -> Metadata:
    own, received = _split(metadata.containers)
    containers = (Container(index=0, type=0, origin=Origin.GATEWAY, data=field + own), *received)
    trace, is_complete = trace_view(containers)
    return structs.replace(metadata, containers=containers, trace=trace, trace_complete=is_complete, disposition=())


def _split(containers: Sequence[Container]) -> tuple[bytes, Sequence[Container]]:
    if containers and containers[0].origin is Origin.GATEWAY:
        return containers[0].data, containers[1:]
    # A mail without any has none of others either: this gateway's own always comes first.
    return b"", ()
