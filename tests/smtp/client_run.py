"""Runs a transcript through the client engine: what it is told is what the server says, what it sends is compared.

The tasks of a transcript, one `T:` line each, done one after another once the session is open:

    T: starttls                                   ask for TLS; `-- tls` stands where the handshake is done
    T: quit
    T: from=<s@example.net> to=<a@example.org>,<b@example.org> content=hello\\r\\n
                                                  send a mail; also containers=0001:$Forwarded,7fff:\\0 body=BINARYMIME
                                                  parameters=ENVID=x,RET=HDRS chunk=1000 chunked=no

The result of a mail is a reply for each recipient, with its response codes behind it; of one that the client refuses to
send it is `not sent: why`. `-- disconnect` is the loss of the connection.
"""

from collections.abc import Callable, Iterator

from gateway.address import parse_path
from gateway.envelope import Content
from gateway.smtp import DIALECTS
from gateway.smtp.client import ClientConnection
from gateway.smtp.client_events import Concluded, MailConcluded, ReplyReceived
from gateway.smtp.outgoing import LocalProtocolError, OutgoingMail, OutgoingRecipient
from tests.smtp.transcript import Transcript, facts, unescape

__all__ = ["ClientRun"]


class ClientRun:
    """One conversation as the client has it."""

    def __init__(self, transcript: Transcript) -> None:
        self.results: list[str] = []
        self.wants_tls = False
        self._tasks = list(transcript.tasks)
        self._connection = ClientConnection(
            DIALECTS[transcript.settings.get("dialect", "smtp")],
            hello_name="client.example.net",
            trusted=transcript.settings.get("trusted") == "yes",
            dovecot_referrals=transcript.settings.get("dovecot") == "yes",
        )

    def converse(
        self, transcript: Transcript, feed: Callable[[bytes], Iterator[bytes]]
    ) -> Iterator[tuple[bytes, bytes]]:
        """What the client sends in each of its turns, and what it should."""
        sent = b""
        for turn in transcript.turns:
            if turn.side == "C":
                yield sent, turn.octets
                sent = b""
            elif turn.side == "S":
                for piece in feed(turn.octets):
                    self.hear(piece)
                    sent += self.say()
            else:
                self.pass_on(turn.side)
                sent += self.say()
        yield sent, b""

    def hear(self, octets: bytes) -> None:
        self._connection.receive_data(octets)
        self._go_on()

    def pass_on(self, happening: str) -> None:
        """What happens between two turns."""
        if happening == "tls":
            self.wants_tls = False
            self._connection.tls_established()
        elif happening == "disconnect":
            self._connection.end("the connection is lost")
        self._go_on()

    def say(self) -> bytes:
        sent = b""
        try:
            while octets := self._connection.data_to_send():
                sent += octets
        except LocalProtocolError as error:
            self.results.append(f"not sent: {error}")
        return sent

    def _go_on(self) -> None:
        while (event := self._connection.next_event()) is not None:
            match event:
                case ReplyReceived():
                    pass
                case MailConcluded(outcomes):
                    self.results += [" ".join(map(str, (outcome.reply, *outcome.reply.codes))) for outcome in outcomes]
                    self._begin_next()
                case Concluded(reply) if reply.code == 220:
                    self.wants_tls = True
                case Concluded(reply):
                    if not reply.is_positive:
                        self.results.append(str(reply))
                    self._begin_next()

    def _begin_next(self) -> None:
        while self._tasks:
            try:
                self._begin(self._tasks.pop(0))
            except LocalProtocolError as error:
                self.results.append(f"not sent: {error}")
            else:
                return

    def _begin(self, task: str) -> None:
        if task == "starttls":
            self._connection.start_tls()
        elif task == "quit":
            self._connection.quit()
        else:
            self._connection.send(_mail(facts(task)))


def _mail(stated: dict[str, str]) -> OutgoingMail:
    def words(name: str) -> list[str]:
        return stated[name].split(",") if name in stated else []

    def address(text: str):
        return parse_path(text[1:-1].encode(), utf8=True)

    return OutgoingMail(
        reverse_path=address(stated["from"]),
        recipients=tuple(OutgoingRecipient(address(text)) for text in words("to")),
        content=Content(unescape(stated["content"])),
        parameters=tuple((word.partition("=")[0], word.partition("=")[2]) for word in words("parameters")),
        containers=tuple((int(word[:4], 16), unescape(word[5:])) for word in words("containers")),
        body=stated.get("body", "7BIT"),
        chunked=stated.get("chunked") != "no",
        chunk_octets=int(stated.get("chunk", "1000000")),
    )
