"""docs/supported.md: what of four documents is done, from the table in supported.toml."""

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["DOCUMENTS", "Demand", "Document", "Section", "supported_page"]

_INTRODUCTION = """\
# What is supported

Section by section, what the documents demand that this gateway is about, in our words: what is done, what is not and
why, and which conversation or test proves it. [protocol-rules.md](protocol-rules.md) has the gateway's own decisions.

A demand is *done* with its proof: a conversation in `tests/smtp/transcripts`, a check of the
[conformance kit](conformance.md), which examines any server, or a test. It is *not done* with a reason, and *not ours*
where it is about somebody else: who writes standards, who runs a site, a role that this gateway does not have. MUST,
SHOULD and MAY are the document's words (RFC 1869 writes them in lower case); a demand without one is what the document
just says.

This page is generated from `tests/project/supported.toml`, and a test looks after it: every section has its place,
every sentence with MUST or SHOULD has its row, and no row is done without a proof that exists.
"""


@dataclass(frozen=True)
class Demand:
    level: str
    whom: str
    state: str
    text: str
    rest: str

    @property
    def proofs(self) -> list[str]:
        return self.rest.split() if self.state == "done" else []

    @property
    def reason(self) -> str:
        return "" if self.state == "done" else self.rest


@dataclass(frozen=True)
class Section:
    number: str
    title: str
    demands: tuple[Demand, ...]


@dataclass(frozen=True)
class Document:
    name: str
    title: str
    sections: tuple[Section, ...]


def _read() -> tuple[Document, ...]:
    table = tomllib.loads(Path(__file__).with_name("supported.toml").read_text(encoding="utf-8"))
    return tuple(
        Document(
            document["name"],
            document["title"],
            tuple(
                Section(section["number"], section["title"], tuple(Demand(*row) for row in section["rows"]))
                for section in document["section"]
            ),
        )
        for document in table["document"]
    )


DOCUMENTS = _read()


def supported_page() -> str:
    return "\n".join([_INTRODUCTION, *_summary(), *(line for document in DOCUMENTS for line in _document(document))])


def _summary() -> Iterator[str]:
    yield "| document | done | not done | not ours |"
    yield "|---|---|---|---|"
    for document in DOCUMENTS:
        states = [demand.state for section in document.sections for demand in section.demands]
        yield f"| {document.name} | {states.count('done')} | {states.count('not done')} | {states.count('not ours')} |"
    yield ""


def _document(document: Document) -> Iterator[str]:
    yield f"## {document.title}"
    yield ""
    for section in document.sections:
        yield f"### {document.name} §{section.number} {section.title}"
        yield ""
        yield "| | for | what is demanded | | proof, or why not |"
        yield "|---|---|---|---|---|"
        for demand in section.demands:
            level = "" if demand.level == "says" else demand.level.upper()
            shown = "<br>".join(map(_proof, demand.proofs)) or demand.reason
            yield f"| {level} | {demand.whom} | {demand.text} | {demand.state} | {shown} |"
        yield ""


def _proof(proof: str) -> str:
    if proof.startswith("check:"):
        name = proof.removeprefix("check:")
        return f"[{name}](../gateway/conformance/checks/{name}.smtp)"
    if "::" in proof:
        path, _, name = proof.partition("::")
        return f"[`{name}`](../{path})"
    return f"[{proof}](../tests/smtp/transcripts/{proof}.smtp)"
