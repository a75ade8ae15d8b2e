"""docs/supported.md says everything, and nothing that is not so."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from gateway.conformance import REQUIREMENTS
from gateway.smtp.extensions import EXTENSIONS
from tests.project.supported import DOCUMENTS

_ROOT = Path(__file__).parents[2]
_LEVELS = {"must", "should", "may", "says"}
_STATES = {"done", "not done", "not ours"}

# The documents' tables of contents, and how many sentences of a section have MUST or SHOULD; RFC 1869 and RFC 2033
# write some in lower case.
SECTIONS = {
    "MD00": "1 2 3 3.1 3.2 3.3 4 4.1 4.2 4.3 5 6 7 8 8.1 9 10 11 12 A B",
    "RFC 1869": "1 2 3 4 4.1 4.1.1 4.1.2 4.2 4.3 4.4 4.5 4.6 4.7 5 6 6.1 7 8 9 10 11 12",
    "RFC 2033": "1 2 3 4 4.1 4.2 4.3 5 6 7 8 9",
    "RFC 3030": "1 2 3 4 4.1 4.2 5 6 7 A",
}
SENTENCES = {
    "MD00": "3:1 3.1:7 3.2:4 3.3:2 4.1:3 4.2:1 4.3:2",
    "RFC 1869": "3:2 4:1 4.1.1:1 4.1.2:2 4.2:2 4.3:8 4.4:1 4.5:1 4.6:1 4.7:3 6:1 6.1:1 7:2 9:1",
    "RFC 2033": "1:1 4.1:1 4.2:3 4.3:2 5:9",
    "RFC 3030": "2:12 3:14",
}

_DEMANDS = [
    pytest.param(demand, id=f"{document.name} §{section.number} {demand.text}")
    for document in DOCUMENTS
    for section in document.sections
    for demand in section.demands
]
_REGISTERED = {
    *("PIPELINING", "SIZE", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "CHUNKING", "BINARYMIME", "DSN", "STARTTLS"),
    *("AUTH", "HELP"),
}


@cache
def names_in(path: str) -> set[str]:
    tree = ast.parse((_ROOT / path).read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_every_section_has_its_place():
    assert {document.name: [section.number for section in document.sections] for document in DOCUMENTS} == {
        name: numbers.split() for name, numbers in SECTIONS.items()
    }


def test_every_sentence_with_must_or_should_has_its_row():
    for document in DOCUMENTS:
        counted = [
            f"{section.number}:{count}"
            for section in document.sections
            if (count := sum(demand.level in ("must", "should") for demand in section.demands))
        ]
        assert " ".join(counted) == SENTENCES[document.name]


@pytest.mark.parametrize("demand", _DEMANDS)
def test_a_row_is_done_with_a_proof_that_exists_or_says_why_not(demand):
    assert demand.level in _LEVELS
    assert demand.state in _STATES
    assert demand.text.endswith(".")
    if demand.state != "done":
        assert demand.reason.endswith((".", ").")), "it gives no reason"
        return
    assert demand.proofs, "nothing proves it"
    for proof in demand.proofs:
        path, colons, name = proof.partition("::")
        if colons:
            assert name in names_in(path), proof
        elif proof.startswith("check:"):
            assert proof.removeprefix("check:") in {requirement.name for requirement in REQUIREMENTS}, proof
        else:
            assert (_ROOT / "tests/smtp/transcripts" / f"{proof}.smtp").is_file(), proof


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=lambda requirement: requirement.name)
def test_a_check_cites_a_section_that_is_there(requirement):
    for source in requirement.sources:
        name, _, section = source.partition(" §")
        assert name not in SECTIONS or section in SECTIONS[name].split()


def test_no_transcript_cites_a_section_that_is_not_there():
    cited = re.compile(r"(MD00|RFC (?:1869|2033|3030)) §([0-9A-B.]*[0-9A-B])")
    for path in (_ROOT / "tests/smtp/transcripts").glob("*.smtp"):
        title = path.read_text(encoding="utf-8").partition("\n")[0]
        for name, section in cited.findall(title):
            assert section in SECTIONS[name].split(), path.name


def test_what_is_offered_is_registered_or_private_but_for_two_drafts():
    offered = {extension.keyword for extension in EXTENSIONS}
    assert {keyword for keyword in offered - _REGISTERED if not keyword.startswith("X")} == {"METADATA", "STOKEN"}
