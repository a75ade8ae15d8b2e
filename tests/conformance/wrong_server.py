"""A small SMTP and LMTP server with chunks and metadata that keeps every rule, but for the faults it is told to have.

It shares no code with the gateway: that it passes without faults says that the checks demand nothing of the gateway's
own. Mail goes nowhere.
"""

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

__all__ = ["serving"]

_CHUNK = re.compile(rb"([0-9]{1,10})(?: (LAST))? *", re.IGNORECASE)
_PARAMETERS = {b"BODY=7BIT", b"BODY=8BITMIME", b"BODY=BINARYMIME"}
_KNOWN_FLAGS = {b"$Forwarded"}


class _Closed(Exception):
    pass


class _Session:
    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        faults: Iterable[str],
        protocol: str,
        tls: ssl.SSLContext | None,
    ) -> None:
        self.reader, self.writer = reader, writer
        self.faults = set(faults)
        self.lmtp = protocol == "lmtp"
        self.tls = tls
        self.greeted = False
        self.under_tls = False
        self.keywords_seen = 0
        self.reset()

    def has(self, fault: str) -> bool:
        return fault in self.faults

    def reset(self) -> None:
        self.mail = False
        self.recipients = 0
        self.chunks = 0
        self.content_seen = False
        self.traces = 0
        self.binary = False
        self.failed = False
        if not self.has("keywords outlive RSET"):
            self.keywords_seen = 0

    def say(self, code: int, text: str, *, status: bool = True, last: bool = True) -> None:
        if status and not self.has("no status codes") and code // 100 != 3:
            class_ = 5 if self.has("status codes of the wrong class") and code == 250 else code // 100
            text = f"{class_}.0.0 {text}"
        if self.has("long lines") and code == 250:
            text += "x" * 600
        end = "\n" if self.has("lines end with LF") else "\r\n"
        self.writer.write(f"{code}{' ' if last else '-'}{text}{end}".encode())

    async def run(self) -> None:
        self.say(220, "wrong.example.org", status=False)
        while True:
            line = await self.reader.readuntil(b"\n")
            await self.command(line.rstrip(b"\r\n"))
            if self.has("input behind a command is lost"):
                self.reader._buffer.clear()

    async def command(self, line: bytes) -> None:
        verb, _, argument = line.partition(b" ")
        if not self.has("verbs have a case"):
            verb = verb.upper()
        action = {
            b"NOOP": self.noop, b"RSET": self.rset, b"QUIT": self.quit, b"MAIL": self.take_mail, b"RCPT": self.rcpt,
            b"DATA": self.data, b"BDAT": self.bdat, b"BMTD": self.bmtd, b"STARTTLS": self.starttls,
        }.get(verb)  # fmt: skip
        if verb in (b"EHLO", b"HELO", b"LHLO"):
            self.hello(verb, argument)
        elif action is not None:
            await action(argument)
        elif self.has("any line is taken") and not line.isascii():
            self.say(250, "whatever")
        elif self.has("an unknown verb ends the session"):
            raise _Closed
        else:
            self.say(500, "unknown")

    def hello(self, verb: bytes, argument: bytes) -> None:
        ours = (b"LHLO",) if self.lmtp else (b"EHLO", b"HELO")
        if self.has("LMTP knows EHLO"):
            ours += (b"EHLO",)
        if verb not in ours or (verb == b"HELO" and self.has("HELO is unknown")):
            return self.say(500, "unknown", status=False)
        if not argument and not self.has("a hello needs no name"):
            return self.say(501, "a name is missing", status=False)
        if not self.has("a hello resets nothing"):
            self.reset()
        self.greeted = True
        if verb == b"HELO":
            return self.say(250, "wrong.example.org", status=False)
        offered = ["PIPELINING", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "CHUNKING", "BINARYMIME", "METADATA"]
        if self.tls is not None and (not self.under_tls or self.has("STARTTLS is offered again")):
            offered.append("STARTTLS")
        offered = [word for word in offered if not self.has(f"{word} is not offered")]
        if self.has("METADATA has a parameter"):
            offered[offered.index("METADATA")] = "METADATA 1"
        if self.has("a keyword is none"):
            offered.append("=WHAT?")
        self.say(250, "wrong.example.org", status=False, last=False)
        for word in offered[:-1]:
            self.say(250, word, status=False, last=False)
        return self.say(250, offered[-1], status=False)

    async def noop(self, _: bytes) -> None:
        self.say(*((500, "unknown") if self.has("NOOP is unknown") else (250, "ok")))

    async def rset(self, _: bytes) -> None:
        if self.chunks and self.has("RSET is refused among chunks"):
            return self.say(503, "not now")
        if not self.has("RSET resets nothing"):
            self.reset()
        return self.say(250, "ok")

    async def quit(self, _: bytes) -> None:
        if not self.greeted and self.has("QUIT needs a hello"):
            return self.say(503, "hello first")
        self.say(221, "goodbye")
        if not self.has("QUIT does not end the session"):
            raise _Closed
        return None

    async def starttls(self, _: bytes) -> None:
        self.say(220, "go on")
        self.under_tls = True
        self.reset()
        await self.writer.start_tls(self.tls)

    async def take_mail(self, argument: bytes) -> None:
        if self.mail and not self.has("MAIL may be nested"):
            return self.say(503, "nested")
        if not self.parameters_known(argument):
            return self.say(555, "unknown parameter")
        self.mail = True
        self.binary = b"BINARYMIME" in argument.upper()
        return self.say(250, "ok")

    async def rcpt(self, argument: bytes) -> None:
        if not self.mail and not self.has("RCPT comes any time"):
            return self.say(503, "MAIL first")
        if b"<>" in argument:
            return self.say(501, "nobody")
        if not self.parameters_known(argument):
            return self.say(555, "unknown parameter")
        self.recipients += 1
        return self.say(250, "ok")

    def parameters_known(self, argument: bytes) -> bool:
        words = argument.upper().split()[1:]
        if self.has("BODY is unknown"):
            return not words
        return self.has("unknown parameters are ignored") or set(words) <= _PARAMETERS

    async def data(self, _: bytes) -> None:
        if self.has("DATA is gone"):
            return self.say(502, "use BDAT")
        if self.chunks and not self.has("DATA goes with chunks"):
            return self.say(503, "no DATA among chunks")
        if self.binary and not self.has("DATA goes with BINARYMIME"):
            return self.say(503, "no DATA with BINARYMIME")
        if not self.recipients and not self.has("DATA needs no recipient"):
            return self.say(554 if self.has("LMTP answers DATA with 554") else 503, "no recipients")
        self.say(354, "go on")
        if not self.has("content is not read"):
            await self.content()
        if self.has("input behind the content is lost"):
            self.reader._buffer.clear()
        self.accept()
        if self.has("two replies to the content"):
            self.say(250, "once more")
        return None

    async def content(self) -> None:
        received = b"\r\n"
        ends = [b"\r\n.\r\n"]
        ends += [end for end in (b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r") if self.has(f"{end!r} ends DATA")]
        while not received.endswith(tuple(ends)):
            received += await self.reader.readexactly(1)

    def accept(self) -> None:
        replies = self.recipients if self.lmtp and not self.has("LMTP answers once") else 1
        for _ in range(replies):
            self.say(250, "taken")
        self.reset()

    async def bdat(self, argument: bytes) -> None:
        payload, last = await self.payload(argument)
        if payload is None:
            return
        bare = re.search(rb"(?<!\r)\n|\r(?!\n)", payload)
        refused = self.binary and bare and self.has("BINARYMIME is text")
        self.settle(last=last, refusal=(550, "bare line ends") if refused else None, metadata=False)

    async def bmtd(self, argument: bytes) -> None:
        payload, last = await self.payload(argument)
        if payload is not None:
            self.settle(last=last, refusal=self.refusal(payload), metadata=True)

    def refusal(self, payload: bytes) -> tuple[int, str] | None:
        if self.content_seen and self.has("BMTD comes before BDAT"):
            return 503, "too late"
        if len(payload) == 1 and not self.has("one octet is a container"):
            return 501, "one octet"
        match payload[:2]:
            case b"":
                return (501, "nothing") if self.has("BMTD 0 is refused") else None
            case b"\0\0":
                self.traces += 1
                return (554, "twice") if self.traces > 1 and self.has("type 0 comes once") else None
            case b"\0\1":
                self.keywords_seen += 1
                if not set(payload[2:].split()) <= _KNOWN_FLAGS and self.has("unknown keywords are refused"):
                    return 554, "unknown keyword"
                return (554, "twice") if self.keywords_seen > 1 else None
            case _:
                return (554, "unknown type") if self.has("unknown types are refused") else None

    async def payload(self, argument: bytes) -> tuple[bytes | None, bool]:
        """The octets, and LAST. None where there is a reply already."""
        match = _CHUNK.fullmatch(argument)
        if match is None or (self.has("verbs have a case") and b"last" in argument):
            if self.has("any size is taken"):
                self.say(250, "whatever")
                return None, False
            self.say(501, "no size")
            raise _Closed
        ready = self.mail and self.recipients
        if not ready and self.has("a refused payload is not read"):
            self.say(503, "not now")
            return None, False
        payload = await self.reader.readexactly(int(match[1]))
        if self.has("input behind a chunk is lost"):
            self.reader._buffer.clear()
        if b"\r\n.\r\n" in payload and self.has("a dot ends a chunk"):
            self.say(250, "ok")
            self.reader._buffer[:0] = payload.split(b"\r\n.\r\n", 1)[1]
            return None, False
        return payload, match[2] is not None

    def settle(self, *, last: bool, refusal: tuple[int, str] | None, metadata: bool) -> None:
        if not (self.mail and self.recipients):
            if self.lmtp and self.mail and last and not self.has("LMTP answers for nobody"):
                return self.reset()
            return self.say(*((250, "ok") if self.has("stray chunks are taken") else (503, "not now")))
        self.chunks += 1
        self.content_seen = self.content_seen or not metadata
        self.failed = self.failed or refusal is not None
        if self.failed:
            self.say(*(refusal or (503, "failed")))
            return self.reset() if last else None
        if last:
            return self.say(501, "nothing") if self.has("LAST is refused") else self.accept()
        if not self.has("only the last chunk is answered"):
            self.say(250, "ok")
        return None


@asynccontextmanager
async def serving(*faults: str, protocol: str = "smtp", tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """The server's port."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await _Session(reader, writer, faults, protocol, tls).run()
        except (_Closed, asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
