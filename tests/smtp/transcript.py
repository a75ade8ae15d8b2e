r"""Wire transcripts: conversations written down, that the engine must repeat however the octets arrive.

A transcript is a text file, `transcripts/<name>.smtp`:

    # What it shows, and the rules it shows it for. B10, B24; MD00 §3.1
    @ dialect=lmtp                                               settings, see `transcript_server.Settings`
    C: MAIL FROM:<s@example.net>                                 a line of the client, CRLF added
    O: \x00\x01$Forwarded                                        octets of the client, nothing added; \r \n \0 \xHH \\
    O: 10000 * a                                                 … so many times
    S: 250 2.1.0 sender ok                                       a line of the server; {id} is any id, {*} anything
    S: 250-{**}                                                  any number of lines that a reply goes on after
    -- wait                                                      the client waits for all replies before it goes on
    -- tls                                                       the TLS handshake, after STARTTLS
    -- disconnect                                                the client's connection is lost
    -- closed                                                    the server has closed the connection
    M: from=<s@example.net> to=<a@example.org> content=hello\r\n a mail that was handed to delivery, in order
    M: containers=received:0001:$Forwarded keywords=$Forwarded   more about the same mail (see `describe`)

The client does not wait unless told to: everything between two waits is pipelined.

With `@ role=client` it is the client engine that must send what stands at C: and O:, in turn with the server's lines:

    T: from=<s@example.net> to=<a@example.org> content=hello\r\n what the client is asked to do (see `client_run`)
    R: 250 2.0.0 queued                                          how that ends; for a mail, a line for each recipient
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

from gateway.conformance.notation import read_octets, unescape

__all__ = ["TRANSCRIPTS", "Mail", "Segment", "Transcript", "Turn", "facts", "read", "replies_differ", "unescape"]

TRANSCRIPTS = sorted((Path(__file__).parent / "transcripts").glob("*.smtp"))


@dataclass
class Segment:
    """What the client sends without waiting, what it then reads, and what comes after."""

    sent: bytes = b""
    expected: list[str] = field(default_factory=list)
    then: str = "wait"


@dataclass
class Mail:
    """The facts that a transcript states about a delivered mail, by name."""

    facts: dict[str, str] = field(default_factory=dict)


@dataclass
class Turn:
    """What one side says before the other has its turn; `side` is "C", "S", or what happens in between ("tls")."""

    side: str
    octets: bytes = b""


@dataclass
class Transcript:
    name: str
    title: str
    settings: dict[str, str] = field(default_factory=dict)
    segments: list[Segment] = field(default_factory=lambda: [Segment()])
    mails: list[Mail] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)
    tasks: list[str] = field(default_factory=list)
    results: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return self.name

    def say(self, side: str, octets: bytes) -> None:
        if not self.turns or self.turns[-1].side != side:
            self.turns.append(Turn(side))
        self.turns[-1].octets += octets
        if side == "C":
            self.segments[-1].sent += octets


def read(path: Path) -> Transcript:
    """Read one transcript file."""
    lines = path.read_text(encoding="utf-8").split("\n")
    transcript = Transcript(path.stem, lines[0].removeprefix("# "))
    for number, line in enumerate(lines, 1):
        kind, text = line[:3], line[3:]
        if not line or line.startswith("#"):
            continue
        if kind == "C: " or line == "C:":
            transcript.say("C", unescape(text) + b"\r\n")
        elif kind == "O: ":
            transcript.say("C", read_octets(text))
        elif kind == "S: ":
            transcript.segments[-1].expected.append(text)
            transcript.say("S", text.encode() + b"\r\n")
        elif kind == "-- ":
            transcript.segments[-1].then = text
            transcript.segments.append(Segment())
            transcript.turns.append(Turn(text))
        elif line.startswith("@ "):
            transcript.settings.update(word.split("=", 1) for word in line[2:].split())
        elif kind == "M: ":
            stated = facts(text)
            if "from" in stated:
                transcript.mails.append(Mail())
            transcript.mails[-1].facts.update(stated)
        elif kind == "T: ":
            transcript.tasks.append(text)
        elif kind == "R: ":
            transcript.results.append(text)
        else:
            raise ValueError(f"{path.name}:{number}: not a line of a transcript: {line!r}")
    return transcript


def facts(text: str) -> dict[str, str]:
    """`name=value`, where a value goes on to the next ` name=`."""
    return dict(re.findall(r"([a-z_]+)=(.*?)(?= [a-z_]+=|\Z)", text))


def replies_differ(expected: list[str], output: bytes) -> str:
    """How the server's output differs from the lines that a transcript has; empty when it does not."""
    pattern = "".join(map(_line_pattern, expected))
    return "" if re.fullmatch(pattern, output.decode()) else f"expected {expected}, got {output!r}"


def _line_pattern(line: str) -> str:
    code, rest = line[:4], line[4:]
    if rest == "{**}":
        return rf"(?:{re.escape(code)}.*\r\n)*"
    pattern = re.escape(line).replace(r"\{id\}", "[0-9A-HJKMNP-TV-Z]{26}").replace(r"\{\*\}", "[^\r\n]*")
    return pattern + "\r\n"
