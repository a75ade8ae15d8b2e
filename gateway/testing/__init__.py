"""What the author of a connector tests with: sample mails, a connector in memory, and the conformance kit.

It needs no test framework: `check_connector` raises AssertionError with a sentence, under pytest or plain asyncio.
"""

from gateway.testing.conformance import check_connector
from gateway.testing.memory import MemoryConnector
from gateway.testing.samples import plain_mail, sample_mails

__all__ = ["MemoryConnector", "check_connector", "plain_mail", "sample_mails"]
