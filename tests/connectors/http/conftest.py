import pytest

from gateway.testing import sample_mails


@pytest.fixture
def samples():
    """The sample mails by name."""
    mails = sample_mails()
    yield mails
    for mail in mails.values():
        mail.content.close()


@pytest.fixture
def plain(samples):
    """A small mail with nothing special about it."""
    return samples["plain"]
