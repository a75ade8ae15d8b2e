from tests.project import generated


def test_every_generated_file_is_fresh():
    """`python -m tests.project.generated` makes them so."""
    assert generated.stale() == []
