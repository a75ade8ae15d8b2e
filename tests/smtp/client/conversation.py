"""A client engine and a server engine that talk to each other in memory, their octets cut in any way."""

import random
from dataclasses import dataclass, field

from gateway.address import parse_path
from gateway.smtp import (
    LMTP,
    SMTP,
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
from gateway.smtp.client import ClientConnection
from gateway.smtp.client_events import MailConcluded, ReplyReceived
from gateway.smtp.outgoing import OutgoingMail, OutgoingRecipient

DIALECTS = {"smtp": SMTP, "lmtp": LMTP}

OK = Reply.of(250, "2.1.0", "ok")
UNKNOWN = Reply.of(550, "5.1.1", "no such mailbox")
LATER = Reply.of(451, "4.3.0", "try again")


def whole(octets):
    return [octets] if octets else []


def octet_by_octet(octets):
    return [octets[index : index + 1] for index in range(len(octets))]


def at_random_splits(octets):
    cuts = sorted(random.Random(len(octets)).sample(range(len(octets) + 1), min(8, len(octets) + 1)))
    return [octets[start:end] for start, end in zip([0, *cuts], [*cuts, len(octets)], strict=True) if start < end]


class Octets:
    """Content in memory; it remembers the most that was asked of it at once."""

    def __init__(self, octets):
        self.octets = octets
        self.size = len(octets)
        self.largest_read = 0

    def read_at(self, position, size):
        self.largest_read = max(self.largest_read, size)
        return self.octets[position : position + size]


def address(text):
    return parse_path(text.encode(), utf8=True)


def mail(content=b"Subject: x\r\n\r\nhello\r\n", *, to=("b@example.org",), **more):
    recipients = tuple(one if isinstance(one, OutgoingRecipient) else OutgoingRecipient(address(one)) for one in to)
    return OutgoingMail(
        reverse_path=more.pop("reverse_path", address("a@example.net")),
        recipients=recipients,
        content=Octets(content) if isinstance(content, bytes) else content,
        **more,
    )


@dataclass
class Arrived:
    """One transaction as the server's owner saw it. Only what `complete` says has arrived counts."""

    mail: MailReceived
    recipients: list = field(default_factory=list)
    containers: list = field(default_factory=list)
    content: bytes = b""
    chunks: list = field(default_factory=list)
    complete: bool = False


class Conversation:
    """Both ends. `answer` decides about each event that asks the server's owner; by default all is well."""

    def __init__(self, dialect="smtp", *, disabled=(), answer=None, split=whole, hostname="mx.example.org", **policy):
        octets = policy.pop("message_octets", 1_000_000)
        limits = Limits(message_octets=octets, errors=policy.pop("errors", 1000))
        self.client = ClientConnection(DIALECTS[dialect], hello_name="client.example.net")
        self.server = ServerConnection(
            DIALECTS[dialect],
            hostname=hostname,
            extensions=extension_table(Policy(message_octets=octets, **policy), disabled=disabled),
            limits=limits,
        )
        self.split = split
        self.answer = answer or (lambda event: OK)
        self.arrived = []
        self.replies = []
        self.lines = []
        self.writes = []
        self.server.greet()

    @property
    def delivered(self):
        return [one for one in self.arrived if one.complete]

    def open(self):
        concluded = self.conclude()
        assert concluded.reply.is_positive
        return self

    def send(self, outgoing):
        self.client.send(outgoing)
        concluded = self.conclude()
        assert isinstance(concluded, MailConcluded)
        return concluded

    def codes(self, outgoing):
        return [outcome.reply.code for outcome in self.send(outgoing).outcomes]

    def conclude(self):
        """Carry octets to and fro until what the client was asked is concluded."""
        while True:
            while (event := self.client.next_event()) is not None:
                if not isinstance(event, ReplyReceived):
                    return event
                self.replies.append((str(event.command), event.reply.code))
            sent = self.client.data_to_send()
            if sent:
                self.writes.append(sent)
            for piece in self.split(sent):
                self.server.receive_data(piece)
                self._serve()
            received = self.server.data_to_send()
            for piece in self.split(received):
                self.client.receive_data(piece)
            assert sent or received, "each waits for the other"

    def _serve(self):
        while not isinstance(event := self.server.next_event(), Waiting):
            match event:
                case MailReceived():
                    self._ask(event)
                    self.arrived.append(Arrived(event))
                case RecipientReceived():
                    if self._ask(event):
                        self.arrived[-1].recipients.append(event)
                case CredentialsReceived():
                    self._ask(event)
                case ContentReceived(octets):
                    self.arrived[-1].content += octets
                case ChunkReceived(size):
                    self.arrived[-1].chunks.append(size)
                case ContainerReceived(type=type_, data=data):
                    self.arrived[-1].containers.append((type_, data))
                case MessageReceived():
                    per_recipient = self.server.dialect.reply_per_recipient
                    recipients = self.arrived[-1].recipients if per_recipient else [None]
                    replies = [self.answer((event, recipient)) for recipient in recipients]
                    self.arrived[-1].complete = any(reply.is_positive for reply in replies)
                    self.server.answer(*replies)
                case TransactionAborted():
                    self.arrived[-1].content = b""
                case TlsRequested():
                    pass  # the test says when the handshake is done

    def _ask(self, event):
        reply = self.answer(event)
        self.server.answer(reply)
        return reply.is_positive
