"""The conformance kit: whether any SMTP or LMTP server keeps the rules, found out by talking to it.

A check is a conversation, a file in `checks`, with the rule that it shows and the section which demands that.
`examine` has them one after another with a server, each in a session of its own, and says what became of each.
"""

from gateway.conformance.check import CHECKS, Check, Requirement, UnknownSection, read_check, select
from gateway.conformance.conversation import Tls, Unreachable
from gateway.conformance.examination import REQUIREMENTS, Finding, Outcome, Patience, Target, examine

__all__ = [
    "CHECKS",
    "REQUIREMENTS",
    "Check",
    "Finding",
    "Outcome",
    "Patience",
    "Requirement",
    "Target",
    "Tls",
    "UnknownSection",
    "Unreachable",
    "examine",
    "read_check",
    "select",
]
