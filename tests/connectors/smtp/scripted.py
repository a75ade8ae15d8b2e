"""A mail server that answers as it is told, remembers what it heard, and has the faults that a test asks for."""

import asyncio

HELLO = ("PIPELINING", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES")

_GOOD = {
    "": "220 mx.example.org ESMTP",
    "MAIL": "250 2.1.0 ok",
    "RCPT": "250 2.1.5 ok",
    "DATA": "354 go on",
    "RSET": "250 2.0.0 ok",
    "QUIT": "221 2.0.0 bye",
    ".": "250 2.0.0 taken",
}


class Scripted:
    """Answers each verb by the script: the replies in turn, the last one for ever; None cuts the connection.

    "" is the greeting, "." the end of the content: over LMTP it is asked for every recipient that was accepted.
    """

    def __init__(self, *, offers=HELLO, lmtp=False, host="127.0.0.1", port=0, **script):
        self._offers = offers
        self._where = (host, port)
        self._lmtp = lmtp
        self._script = {"greeting": "", "end": "."}
        self._replies = {self._script.get(verb, verb): list(replies) for verb, replies in script.items()}
        self.sessions = []
        self._open = 0
        self.most_at_once = 0
        # Whether a mail has come whole.
        self.taking = asyncio.Event()

    async def __aenter__(self):
        self._serving = await asyncio.start_server(self._serve, *self._where)
        self.address = self._serving.sockets[0].getsockname()[:2]
        return self

    async def __aexit__(self, *_):
        self._serving.close()
        for session in self.sessions:
            session.close()
        await asyncio.gather(*(session.ended.wait() for session in self.sessions))

    @property
    def mails(self):
        """(MAIL line, RCPT lines, content) of every mail that was taken, in order."""
        return [mail for session in self.sessions for mail in session.taken]

    def mend(self):
        """Answer all in good order from now on."""
        self._replies.clear()

    def reply(self, verb):
        replies = self._replies.get(verb)
        if replies is None:
            return _GOOD.get(verb, "500 5.5.1 what?")
        return replies.pop(0) if len(replies) > 1 else replies[0]

    async def _serve(self, reader, writer):
        session = Session(self, writer)
        self.sessions.append(session)
        self._open += 1
        self.most_at_once = max(self.most_at_once, self._open)
        try:
            await session.talk(reader, self._offers, lmtp=self._lmtp)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self._open -= 1
            writer.close()
            session.ended.set()


class Session:
    """One connection."""

    def __init__(self, server, writer):
        self._server = server
        self._writer = writer
        self._cut_at = None
        self._mail, self._recipients, self._content = "", [], b""
        self.heard = []
        self.taken = []
        self.ended = asyncio.Event()

    @property
    def mails(self):
        return len(self.taken)

    def close(self):
        self._writer.close()

    def cut_at(self, verb):
        """End the connection when this comes next."""
        self._cut_at = verb

    def _say(self, verb):
        reply = None if verb == self._cut_at else self._server.reply(verb)
        if reply is None:
            raise ConnectionResetError
        if reply:
            self._writer.write(reply.encode() + b"\r\n")
        return reply

    async def talk(self, reader, offers, *, lmtp):
        self._say("")
        while line := (await reader.readline()).decode(errors="replace").rstrip("\r\n"):
            self.heard.append(line)
            verb = line[:4].upper()
            if verb in ("EHLO", "LHLO") and verb not in self._server._replies:
                self._offer(offers)
            elif verb in ("BDAT", "BMTD"):
                await self._chunk(reader, line, verb, lmtp=lmtp)
            else:
                await self._command(reader, line, verb, lmtp=lmtp)
                if verb == "QUIT":
                    return

    def _offer(self, offers):
        *lines, last = ("mx.example.org", *offers)
        self._writer.write("".join(f"250-{each}\r\n" for each in lines).encode() + f"250 {last}\r\n".encode())

    async def _chunk(self, reader, line, verb, *, lmtp):
        octets = await reader.readexactly(int(line.split()[1]))
        if verb == "BMTD":
            self.heard.append(octets)
        else:
            self._content += octets
        if line.upper().endswith("LAST"):
            self._end(lmtp=lmtp)
        elif verb in self._server._replies or verb == self._cut_at:
            self._say(verb)
        else:
            self._writer.write(b"250 2.0.0 ok\r\n")

    async def _command(self, reader, line, verb, *, lmtp):
        reply = self._say(verb)
        if verb == "MAIL":
            self._mail, self._recipients, self._content = line, [], b""
        elif verb == "RCPT" and reply.startswith("2"):
            self._recipients.append(line)
        elif verb == "DATA" and reply.startswith("3"):
            self._content = (await reader.readuntil(b"\r\n.\r\n"))[:-3].replace(b"\r\n..", b"\r\n.")
            self._end(lmtp=lmtp)

    def _end(self, *, lmtp):
        self._server.taking.set()
        replies = [self._say(".") for _ in (self._recipients if lmtp else [None])]
        if any(each.startswith("2") for each in replies):
            self.taken.append((self._mail, self._recipients, self._content))
