"""What every module of the two packages keeps to."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted(path for package in ("gateway", "connectors") for path in (ROOT / package).rglob("*.py"))

# Beyond this a module has more than one subject.
_MOST_LINES = 450


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_says_what_it_is_for_what_it_offers_and_stays_small(module: Path):
    source = module.read_text(encoding="utf-8")
    tree = ast.parse(source)
    assert ast.get_docstring(tree), "it has no docstring"
    assert source.count("\n") <= _MOST_LINES, "it is too long"
    defines = any(isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) for node in tree.body)
    offers = any(isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__" for node in tree.body)
    assert offers or not defines, "it has no __all__"
