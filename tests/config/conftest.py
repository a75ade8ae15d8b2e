from pathlib import Path

import pytest

SITE = Path(__file__).parent.parent / "site"


@pytest.fixture
def sample_connectors(monkeypatch):
    """As if the third-party package in `tests/site` were installed."""
    monkeypatch.syspath_prepend(SITE)
