"""The owner of a server engine, without a socket: accepts what it is asked, and keeps what it was given."""

from dataclasses import dataclass, field

from gateway.smtp import (
    DIALECTS,
    ChunkReceived,
    ContainerReceived,
    ContentReceived,
    CredentialsReceived,
    Limits,
    MailReceived,
    MessageReceived,
    Policy,
    RecipientReceived,
    Reply,
    ServerConnection,
    TlsRequested,
    TransactionAborted,
    Waiting,
    extension_table,
)

__all__ = ["HOSTNAME", "Message", "Owner"]

HOSTNAME = "mx.example.com"

_OK = Reply.of(250, "2.0.0", "ok")
_DELIVERED = Reply.of(250, "2.0.0", "delivered")
_NO = Reply.of(550, "5.1.1", "no")
_AUTHENTICATED = Reply.of(235, "2.7.0", "ok")


@dataclass
class Message:
    """What one transaction brought. `complete` once the engine asked for its outcome."""

    sender: str
    recipients: list[str] = field(default_factory=list)
    content: bytes = b""
    chunks: list[int] = field(default_factory=list)
    containers: list[tuple[int, bytes]] = field(default_factory=list)
    complete: bool = False


class Owner:
    """Recipients whose local part begins with "no" are refused, everything else is accepted."""

    def __init__(self, dialect="smtp", *, limits=None, disabled=(), **policy) -> None:
        limits = limits or Limits(message_octets=policy.get("message_octets", 10_000), errors=10_000, junk=10_000)
        policy["message_octets"] = limits.message_octets
        self.connection = ServerConnection(
            DIALECTS[dialect],
            hostname=HOSTNAME,
            extensions=extension_table(Policy(**policy), disabled=disabled),
            limits=limits,
        )
        self.messages: list[Message] = []
        self.aborted: list[Message] = []
        self._open: Message | None = None
        self.connection.greet()

    def receive(self, *pieces: bytes) -> bytes:
        """What the engine says to these octets, arriving piece by piece."""
        for piece in pieces:
            self.connection.receive_data(piece)
            while not isinstance(event := self.connection.next_event(), Waiting):
                self._handle(event)
        return self.connection.data_to_send()

    def _handle(self, event) -> None:
        match event:
            case MailReceived():
                assert self._open is None, "MAIL while a transaction is open"
                self._open = Message(event.address.raw)
                self.connection.answer(_OK)
            case RecipientReceived():
                if event.address.local_part.startswith("no"):
                    self.connection.answer(_NO)
                else:
                    self._open.recipients.append(event.address.raw)
                    self.connection.answer(_OK)
            case ContentReceived():
                self._open.content += event.octets
            case ChunkReceived():
                self._open.chunks.append(event.size)
            case ContainerReceived():
                self._open.containers.append((event.type, event.data))
            case MessageReceived():
                message, self._open = self._open, None
                assert message.recipients, "a message without a recipient"
                message.complete = True
                self.messages.append(message)
                per_recipient = self.connection.dialect.reply_per_recipient
                self.connection.answer(*[_DELIVERED] * (len(message.recipients) if per_recipient else 1))
            case TransactionAborted():
                assert self._open is not None, "an abort without a transaction"
                self.aborted.append(self._open)
                self._open = None
            case CredentialsReceived():
                self.connection.answer(_AUTHENTICATED)
            case TlsRequested():
                pass
