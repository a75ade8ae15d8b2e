"""The rules of docs/protocol-rules.md and the transcripts that show them."""

import re
from pathlib import Path

import pytest

from tests.smtp.transcript import TRANSCRIPTS, read

_PAGE = Path(__file__).parents[2] / "docs" / "protocol-rules.md"
RULES = re.findall(r"^\| ([ABETX][0-9]+) \|", _PAGE.read_text(encoding="utf-8"), re.MULTILINE)
# Every transcript's title, where a rule's number stands by itself.
SHOWN = {number for path in TRANSCRIPTS for number in re.findall(r"\b[ABETX][0-9]+\b", read(path).title)}


def test_the_page_numbers_each_rule_once():
    assert len(RULES) == len(set(RULES)) == 72 + 43


@pytest.mark.parametrize("rule", RULES)
def test_a_transcript_shows_the_rule(rule):
    assert rule in SHOWN


def test_transcripts_name_no_rule_that_is_none():
    assert set(RULES) >= SHOWN


def test_the_code_cites_no_rule_that_is_none():
    sources = (Path(__file__).parents[2] / "gateway").rglob("*.py")
    cited = {number for path in sources for number in re.findall(r"\b[ABETX][0-9]{1,2}\b", path.read_text("utf-8"))}
    assert set(RULES) >= cited
