"""The checks as files: each is complete, and demands what a section says."""

import re
from pathlib import Path

import pytest

from gateway.conformance import CHECKS, REQUIREMENTS, UnknownSection, read_check, select
from gateway.conformance.check import Expect, Say
from gateway.conformance.notation import escape, unescape

_ROOT = Path(__file__).parents[2]
_RULES = set(re.findall(r"^\| ([ABE][0-9]+) \|", (_ROOT / "docs/protocol-rules.md").read_text("utf-8"), re.MULTILINE))
_SOURCE = re.compile(r"(?:RFC [0-9]{4}|MD00) §[0-9]+(?:\.[0-9]+)*")
_CHUNK = re.compile(rb"(?:BDAT|BMTD) ([0-9]+)(?: LAST)?\r\n", re.IGNORECASE)

HEAD = "# it is so\n@ source RFC 5321 §2\n@ why because\n"


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=lambda requirement: requirement.name)
def test_a_requirement_names_its_sections_and_rules(requirement):
    assert requirement.sources
    assert all(map(_SOURCE.fullmatch, requirement.sources))
    assert set(requirement.rules) <= _RULES
    assert requirement.title[-1] not in ".,"
    assert requirement.why.endswith(".")


def test_names_are_used_once():
    assert len({requirement.name for requirement in REQUIREMENTS}) == len(REQUIREMENTS)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.requirement.name)
def test_a_check_demands_something(check):
    assert any(isinstance(step, Expect) and not step.given for step in check.steps)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.requirement.name)
def test_a_chunk_has_the_octets_that_it_announces(check):
    values = dict.fromkeys(("hello", "verb", "domain", "from", "to"), b"x") | {"message": b"12345", "octets": b"5"}
    said = [step.octets(values) for step in check.steps if isinstance(step, Say)]
    for command, payload in zip(said, [*said[1:], b""], strict=True):
        if match := _CHUNK.fullmatch(command):
            assert int(match[1]) == (len(payload) if int(match[1]) else 0)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("it is so\n@ source RFC 5321 §2\n@ why because", "has a title"),
        ("# it is so\n@ why because", "a source"),
        ("# it is so\n@ source RFC 5321 §2", "says why"),
        (HEAD + "@ color red", "states no color"),
        (HEAD + "S: 250 ok", "line 4: '250 ok' are no reply codes"),
        (HEAD + "S: 199", "no reply codes"),
        (HEAD + "S:", "not a line of a check"),
        (HEAD + "-- wait", "not a line of a check"),
        (HEAD + "hello", "not a line of a check"),
    ],
)
def test_what_is_no_check_is_told_with_its_line(text, why):
    with pytest.raises(ValueError, match=f"^new.*{why}"):
        read_check("new", text)


def test_an_address_is_sent_as_it_is():
    """A backslash in it is no escape, and a brace no placeholder."""
    (say,) = read_check("new", HEAD + r"C: RCPT TO:<{to}>\t").steps
    assert say.octets({"to": rb"a\n{from}"}) == b"RCPT TO:<a\\n{from}>\t\r\n"


@pytest.mark.parametrize(
    ("section", "found", "not_found"),
    [
        ("RFC 2033", "lmtp-offers-8bitmime", "chunk"),
        ("rfc2033 §4", "lmtp-data", "lmtp-offers-8bitmime"),
        ("RFC-2033 4.3", "lmtp-last-chunk", "lmtp-data"),
        ("MD00 §3", "container", "chunk"),
        ("md00 3.1", "container", "containers-of-trace"),
        ("MD00 §3.1", "lmtp-last-container", "container-of-an-unknown-type"),
        ("RFC 5321 §4.1.1.1", "helo", "quit"),
    ],
)
def test_checks_are_found_by_their_section(section, found, not_found):
    names = select(REQUIREMENTS, section)
    assert found in names
    assert not_found not in names


@pytest.mark.parametrize("section", ["RFC 9999", "RFC 303", "§2", "", "RFC 3030 §22"])
def test_a_section_of_which_nothing_is_checked_is_told_with_those_that_are(section):
    with pytest.raises(UnknownSection, match="RFC 3030 §2"):
        select(REQUIREMENTS, section)


def test_octets_are_shown_as_they_are_written():
    octets = bytes(range(256))
    assert escape(octets).isascii()
    assert escape(octets).isprintable()
    assert unescape(escape(octets)) == octets
