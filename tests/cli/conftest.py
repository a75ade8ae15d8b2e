from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway.cli import app


@pytest.fixture
def sample_connectors(monkeypatch):
    """As if the third-party package in `tests/site` were installed."""
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "site")


@pytest.fixture
def mailsluice():
    """Run a command, as `mailsluice("check", "--config", path)`."""

    def run(*arguments, text=None):
        outcome = CliRunner().invoke(app, [str(argument) for argument in arguments], input=text)
        if outcome.exception is not None and not isinstance(outcome.exception, SystemExit):
            raise outcome.exception
        return outcome

    return run
