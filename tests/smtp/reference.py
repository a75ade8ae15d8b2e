"""What a session should answer, written down a second time and much more simply: a reference for property tests.

A Command is one command with all that belongs to it. The reference says which reply codes it gets, one after another,
and which messages have come to be. It knows nothing of octets, lines and limits other than that of a message's size.
"""

from dataclasses import dataclass, field

__all__ = ["COMMANDS", "LARGEST_MESSAGE", "Command", "Reference"]

LARGEST_MESSAGE = 60


@dataclass(frozen=True)
class Command:
    """`octets` is the line, `payload` what follows where it is taken, `fault` the code for a wrong argument."""

    verb: str
    octets: bytes
    payload: bytes = b""
    last: bool = False
    fault: int = 0
    binary: bool = False
    extended: bool = False  # it has parameters

    def __str__(self) -> str:
        return f"{self.octets.decode('latin-1')!r}{'…' if self.payload else ''}"


def _chunk(verb: str, payload: bytes, *, last: bool = False, extra: str = "", fault: int = 0) -> Command:
    line = f"{verb} {len(payload)}{' LAST' if last else ''}{extra}\r\n".encode()
    return Command(verb, line, payload, last, fault)


_CONTENTS = [b"hello\r\n", b".\r\n..\r\nQUIT\r\n", b"a\nb", b"half a line\r", b"\nand the rest", b"", b"x" * 50]
_CONTAINERS = [
    b"\0\0X-A: a\r\n",
    b"\0\0Subject: no\r\n",
    b"\0\0no field",
    b"\0\1$Forwarded",
    b"\x7f\xffRSET\r\n\0",
    b"\x01\x00",
    b"Q",
    b"",
]

COMMANDS: list[Command] = [
    Command("EHLO", b"EHLO a\r\n"),
    Command("HELO", b"HELO a\r\n"),
    Command("LHLO", b"lhlo a\r\n"),
    Command("EHLO", b"EHLO\r\n", fault=501),
    Command("MAIL", b"MAIL FROM:<s@example.net>\r\n"),
    Command("MAIL", b"mail from:<> BODY=BINARYMIME\r\n", binary=True, extended=True),
    Command("MAIL", b"MAIL FROM:<s@example.net> SIZE=60 ENVID=a RET=HDRS\r\n", extended=True),
    Command("MAIL", b"MAIL FROM:<s@example.net> SIZE=61\r\n", fault=552, extended=True),
    Command("MAIL", b"MAIL FROM:<s@example.net> FOO=1\r\n", fault=555, extended=True),
    Command("MAIL", b"MAIL FROM:<s@@example.net>\r\n", fault=501),
    Command("RCPT", b"RCPT TO:<a@example.org>\r\n"),
    Command("RCPT", b"RCPT TO:<b@example.org> NOTIFY=NEVER\r\n", extended=True),
    Command("RCPT", b"RCPT TO:<nobody@example.org>\r\n", fault=550),
    Command("RCPT", b"RCPT TO:<>\r\n", fault=553),
    *(Command("DATA", b"DATA\r\n", content) for content in _CONTENTS),
    Command("DATA", b"DATA\r\n", b"x" * 70),
    Command("DATA", b"DATA x\r\n", fault=501),
    *(_chunk("BDAT", content, last=last) for content in _CONTENTS for last in (False, True)),
    *(_chunk("BMTD", container, last=last) for container in _CONTAINERS for last in (False, True)),
    _chunk("BDAT", b"QUIT\r\n", extra=" LAST?", fault=501),
    _chunk("BMTD", b"QUIT\r\n", last=True, extra=" LAST", fault=501),
    _chunk("BDAT", b"x" * 61),
    _chunk("BMTD", b"x" * 61, last=True),
    Command("RSET", b"RSET\r\n"),
    Command("NOOP", b"NOOP\r\n"),
    Command("VRFY", b"VRFY a\r\n"),
    Command("HELP", b"HELP\r\n"),
    Command("EXPN", b"EXPN a\r\n"),
    Command("BURL", b"BURL a LAST\r\n"),
    Command("FOO", b"FOO\r\n"),
    Command("FOO", b"\r\n"),
]

_ALWAYS = {"NOOP": 250, "VRFY": 252, "HELP": 214, "EXPN": 502, "BURL": 502, "FOO": 500}


@dataclass
class _Transaction:
    extended: bool
    binary: bool
    recipients: int = 0
    tried: bool = False
    chunks: int = 0
    content: bytes = b""
    containers: list[bytes] = field(default_factory=list)
    failure: int = 0


class Reference:
    """One session."""

    def __init__(self, dialect: str) -> None:
        self.messages: list[tuple[int, bytes, list[bytes]]] = []
        self._lmtp = dialect == "lmtp"
        self._extended: bool | None = None
        self._transaction: _Transaction | None = None
        self._reset_needed = False

    def takes_payload(self, command: Command) -> bool:
        """Whether what follows the line belongs to it. After DATA only where it is accepted."""
        return command.verb != "DATA" or self._refuse_data(command) == 0

    def replies(self, command: Command) -> list[int]:
        """The codes that `command` gets here."""
        if command.verb in _ALWAYS:
            return [_ALWAYS[command.verb]]
        return {
            "EHLO": self._hello,
            "HELO": self._hello,
            "LHLO": self._hello,
            "MAIL": self._mail,
            "RCPT": self._rcpt,
            "DATA": self._data,
            "RSET": self._rset,
            "BDAT": self._chunk,
            "BMTD": self._chunk,
        }[command.verb](command)

    def _hello(self, command: Command) -> list[int]:
        if (command.verb == "LHLO") != self._lmtp:
            return [500]
        if command.fault:
            return [command.fault]
        self._extended = command.verb != "HELO"
        self._forget()
        return [250]

    def _rset(self, _command: Command) -> list[int]:
        self._forget()
        return [250]

    def _forget(self) -> None:
        self._transaction = None
        self._reset_needed = False

    def _mail(self, command: Command) -> list[int]:
        if self._extended is None or self._reset_needed or self._transaction is not None:
            return [503]
        if command.extended and not self._extended:
            return [555]
        if not command.fault:
            self._transaction = _Transaction(extended=self._extended, binary=command.binary)
        return [command.fault or 250]

    def _rcpt(self, command: Command) -> list[int]:
        transaction = self._transaction
        if transaction is None or transaction.chunks:
            return [503]
        transaction.tried = True
        if command.extended and not self._extended:
            return [555]
        transaction.recipients += not command.fault
        return [command.fault or 250]

    def _refuse_data(self, command: Command) -> int:
        transaction = self._transaction
        if command.fault:
            return command.fault
        if transaction is None or transaction.chunks or transaction.binary or not (transaction.tried):
            return 503
        if not transaction.recipients:
            return 503 if self._lmtp else 554
        return 0

    def _data(self, command: Command) -> list[int]:
        if code := self._refuse_data(command):
            if self._transaction is not None and self._transaction.chunks and not command.fault:
                self._transaction = None
                self._reset_needed = True
            elif code == 503 and self._transaction is not None and not self._transaction.recipients:
                return [503 if self._lmtp or not self._transaction.tried else 554]
            return [code]
        content = (
            command.payload if not command.payload or command.payload.endswith(b"\r\n") else command.payload + b"\r\n"
        )
        self._transaction.content = content
        if len(content) > LARGEST_MESSAGE:
            self._transaction.failure = 552
        elif _is_bare(content):
            self._transaction.failure = 550
        return [354, *self._end()]

    def _chunk(self, command: Command) -> list[int]:
        transaction = self._transaction
        if self._extended is None:
            return [503]
        if transaction is None or not self._extended:
            self._transaction = None
            self._reset_needed = True
            return [503]
        told = transaction.failure != 0
        transaction.chunks += 1
        transaction.failure = transaction.failure or self._chunk_fault(transaction, command)
        if command.last and not command.fault:
            return self._end(told=told)
        return [250 if not transaction.failure else 503 if told else transaction.failure]

    def _chunk_fault(self, transaction: _Transaction, command: Command) -> int:
        if not transaction.recipients:
            return 554 if transaction.tried else 503
        if command.fault:
            return command.fault
        payload = command.payload
        if len(transaction.content) + sum(map(len, transaction.containers)) + len(payload) > LARGEST_MESSAGE:
            return 552
        if command.verb == "BMTD":
            fault = _container_fault(payload, transaction.containers)
            transaction.containers += [payload] if payload else []
        else:
            fault = 0
            transaction.content += payload
        checked = transaction.content if command.last else transaction.content.removesuffix(b"\r")
        return fault or (550 if _is_bare(checked) and not transaction.binary else 0)

    def _end(self, *, told: bool = False) -> list[int]:
        transaction, self._transaction = self._transaction, None
        code = transaction.failure or 250
        if code == 250:
            self.messages.append((transaction.recipients, transaction.content, transaction.containers))
        if self._lmtp:
            return [code] * transaction.recipients
        return [503 if told else code]


def _is_bare(content: bytes) -> bool:
    return any(octet in content.replace(b"\r\n", b"") for octet in b"\r\n")


def _container_fault(payload: bytes, containers: list[bytes]) -> int:
    if len(payload) == 1:
        return 501
    if payload[:2] == b"\0\1" and any(container[:2] == b"\0\1" for container in containers):
        return 554
    return 554 if payload in (b"\0\0Subject: no\r\n", b"\0\0no field") else 0
