"""From an accepted recipient to receipts: which route it takes, and what every destination of that route answers."""

from gateway.delivery.destination import Destination
from gateway.delivery.engine import Engine
from gateway.delivery.notices import Notices
from gateway.delivery.outcome import Failure, RecipientOutcome, in_brief
from gateway.delivery.routes import PatternError, Route, Routes, covering, parse_pattern
from gateway.delivery.submit import submit

__all__ = [
    "Destination",
    "Engine",
    "Failure",
    "Notices",
    "PatternError",
    "RecipientOutcome",
    "Route",
    "Routes",
    "covering",
    "in_brief",
    "parse_pattern",
    "submit",
]
