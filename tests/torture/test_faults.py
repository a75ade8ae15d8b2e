"""Every fault of `faults.toml` is injected by tests that exist, or the table says what is not done and why."""

import ast
import tomllib
from pathlib import Path

import pytest

from tests.servers.cache import REPOSITORY

FAULTS = tomllib.loads(Path(__file__).with_name("faults.toml").read_text(encoding="utf-8"))["fault"]


def names_in(path):
    """The tests of a module, as they stand in its text: what is imported for it is not needed here."""
    module = ast.parse((REPOSITORY / path).read_text(encoding="utf-8"))
    return {each.name for each in module.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_no_fault_is_forgotten():
    assert [fault["number"] for fault in FAULTS] == list(range(1, 37))


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault['number']} {fault['what']}")
def test_a_fault_is_injected_or_it_is_said_why_not(fault):
    assert fault.keys() <= {"number", "what", "tests", "open"}
    assert fault["tests"] or fault["open"]
    wanted = [node.split("::") for node in fault["tests"]]
    missing = [(path, name) for path, name in wanted if name not in names_in(path)]
    assert not missing
