import pytest

from gateway.testing import sample_mails


@pytest.fixture(scope="session")
def sample_envelopes():
    """The envelopes of the sample mails, without and with the content inside."""
    mails = sample_mails().values()
    yield [mail.envelope for mail in mails] + [mail.inline() for mail in mails]
    for mail in mails:
        mail.content.close()
