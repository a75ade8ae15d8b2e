"""What is demanded of everything that a server says: judged at the end, from all that was heard."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from gateway.conformance.check import Requirement
from gateway.conformance.conversation import Heard
from gateway.conformance.notation import escape

__all__ = ["OBSERVATIONS", "Observation", "Said"]

# RFC 5321 §4.5.3.1.5: with the code and the CRLF.
_LINE_OCTETS = 512
_KEYWORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*")
_PARAMETER = re.compile(r"[\x21-\x7e]+")
_SHOWN = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a server said: its replies, and the lines behind the first of its hello, under TLS where there is TLS."""

    heard: Sequence[Heard]
    hello_lines: Sequence[str]

    @property
    def keywords(self) -> set[str]:
        """The extensions that it offers, in upper case."""
        return {line.split()[0].upper() for line in self.hello_lines if line.split()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """A requirement, and what in all that was said goes against it: nothing, or the first thing that does."""

    requirement: Requirement
    fault: Callable[[Said], str]
    about_starttls: bool = False


def _reply_lines(said: Said) -> str:
    for heard in said.heard:
        for line in heard.octets.splitlines(keepends=True):
            if not line.endswith(b"\r\n"):
                return f"a line that does not end with CRLF: {_shown(line)}"
            if len(line) > _LINE_OCTETS:
                return f"a line of {len(line)} octets: {_shown(line)}"
            if line[3:4] not in (b" ", b"-") and line != line[:3] + b"\r\n":
                return f"a line without a blank behind its code: {_shown(line)}"
    return ""


def _status_codes(said: Said) -> str:
    for heard in said.heard:
        if not heard.with_status or heard.reply.code // 100 == 3:
            continue
        first = heard.octets[:1]
        for line in heard.octets.splitlines():
            if not re.match(rb"%b\.[0-9]{1,3}\.[0-9]{1,3}(?: |\Z)" % first, line[4:]):
                return f"a line without a status code of class {first.decode()}: {_shown(line)}"
    return ""


def _hello_lines(said: Said) -> str:
    for line in said.hello_lines:
        keyword, *parameters = line.split(" ")
        if not _KEYWORD.fullmatch(keyword) or not all(map(_PARAMETER.fullmatch, parameters)):
            return f"this is no keyword with parameters: {_shown(line.encode())}"
    return ""


def _without(keyword: str, required: str) -> Callable[[Said], str]:
    def fault(said: Said) -> str:
        alone = keyword in said.keywords and required not in said.keywords
        return f"{keyword} is offered, {required} is not" if alone else ""

    return fault


def _missing(*keywords: str) -> Callable[[Said], str]:
    def fault(said: Said) -> str:
        missing = [keyword for keyword in keywords if keyword not in said.keywords]
        return f"not offered: {', '.join(missing)}" if missing else ""

    return fault


def _metadata_parameters(said: Said) -> str:
    lines = (line for line in said.hello_lines if line.upper().startswith("METADATA "))
    return next((f"parameters: {_shown(line.encode())}" for line in lines), "")


def _starttls_again(said: Said) -> str:
    return "STARTTLS is offered under TLS" if "STARTTLS" in said.keywords else ""


def _shown(octets: bytes) -> str:
    return escape(octets[:_SHOWN])


def _observations() -> Iterator[Observation]:
    yield Observation(
        requirement=Requirement(
            name="reply-lines",
            title="a reply is lines of a code, a blank and at most 512 octets, each ended by CRLF",
            sources=("RFC 5321 §4.2", "RFC 5321 §4.5.3.1.5"),
            why="A client that reads by the grammar loses its place in the replies.",
        ),
        fault=_reply_lines,
    )
    yield Observation(
        requirement=Requirement(
            name="status-codes",
            title="every line of a 2yz, 4yz or 5yz reply has a status code of the same class",
            sources=("RFC 2034 §4", "RFC 2034 §3"),
            needs=("ENHANCEDSTATUSCODES",),
            why="A client that was promised status codes takes the first word of the text for one.",
        ),
        fault=_status_codes,
    )
    yield Observation(
        requirement=Requirement(
            name="hello-lines",
            title="the reply to a hello is a domain, then a keyword with parameters on each line",
            sources=("RFC 1869 §4.3", "RFC 5321 §4.1.1.1"),
            why="A client cannot know what is offered.",
        ),
        fault=_hello_lines,
    )
    for keyword, required, source, rules in (
        ("METADATA", "CHUNKING", "MD00 §3", ("B2",)),
        ("BINARYMIME", "CHUNKING", "RFC 3030 §3", ()),
        ("SMTPUTF8", "8BITMIME", "RFC 6531 §3.1", ()),
    ):
        yield Observation(
            requirement=Requirement(
                name=f"{keyword.lower()}-comes-with-{required.lower()}",
                title=f"{keyword} is offered together with {required}",
                rules=rules,
                sources=(source,),
                needs=(keyword,),
                why=f"What {keyword} brings cannot be sent without {required}.",
            ),
            fault=_without(keyword, required),
        )
    yield Observation(
        requirement=Requirement(
            name="metadata-has-no-parameters",
            title="the keyword METADATA stands alone",
            rules=("B1",),
            sources=("MD00 §3",),
            needs=("METADATA",),
            why="A client that knows this revision does not know what a parameter asks of it.",
        ),
        fault=_metadata_parameters,
    )
    yield Observation(
        requirement=Requirement(
            name="starttls-once",
            title="STARTTLS is not offered again after it",
            rules=("B5",),
            sources=("RFC 3207 §4.2",),
            why="There is one layer of TLS; a client that trusts the offer would begin a second.",
        ),
        fault=_starttls_again,
        about_starttls=True,
    )
    yield Observation(
        requirement=Requirement(
            name="lmtp-offers-pipelining-and-status-codes",
            title="an LMTP server offers PIPELINING and ENHANCEDSTATUSCODES",
            sources=("RFC 2033 §5",),
            protocols=("lmtp",),
            why="Every LMTP client may count on both.",
        ),
        fault=_missing("PIPELINING", "ENHANCEDSTATUSCODES"),
    )
    yield Observation(
        requirement=Requirement(
            name="lmtp-offers-8bitmime",
            title="an LMTP server offers 8BITMIME",
            sources=("RFC 2033 §5",),
            must=False,
            protocols=("lmtp",),
            why="Else 8-bit mail has to be encoded for the last step of its way.",
        ),
        fault=_missing("8BITMIME"),
    )


OBSERVATIONS = tuple(_observations())
"""What is judged from everything that was heard."""
