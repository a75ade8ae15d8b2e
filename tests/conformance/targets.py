"""Servers to examine, and the examination of each."""

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from gateway.conformance import CHECKS, Finding, Outcome, Patience, Target, examine
from gateway.conformance.check import Check
from gateway.smtp import DIALECTS
from gateway.sockets import TcpBind
from tests.ingress import gateway as ingress

__all__ = ["IMPATIENT", "failed", "findings", "our_gateway", "target"]

# A test's servers are on this machine: what is not there at once does not come.
IMPATIENT = Patience(reply_seconds=1, seconds=60)
PATIENT = Patience(reply_seconds=20, seconds=120)


def target(port: int, protocol: str = "smtp", **changed) -> Target:
    known = {"recipient": "a@example.org", "patience": PATIENT, "hello_name": "client.example.net"}
    return Target(server=TcpBind("127.0.0.1", port), dialect=DIALECTS[protocol], **{**known, **changed})


async def findings(examined: Target, names: Collection[str] | None = None, checks: Sequence[Check] = CHECKS):
    """What is found, by the check's name."""
    return {finding.name: finding async for finding in examine(examined, names, checks)}


def failed(found: dict[str, Finding]) -> dict[str, str]:
    """What is not as it should be, and why."""
    return {
        name: f"{finding.outcome}: sent {finding.sent}, expected {finding.expected}, got {finding.came}{finding.reason}"
        for name, finding in found.items()
        if finding.outcome in (Outcome.FAILED, Outcome.ADVISED)
    }


@asynccontextmanager
async def our_gateway(spool: Path, protocol: str = "smtp", **settings) -> AsyncIterator[ingress.Gateway]:
    async with ingress.gateway(ingress.settings(spool, dialect=protocol, **settings)) as running:
        yield running
