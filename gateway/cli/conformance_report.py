"""What a conformance check found, as text."""

from collections.abc import Iterator, Mapping

from gateway.cli.terminal import printable
from gateway.conformance import Finding, Outcome

__all__ = ["finding_lines", "summary"]

# What led to the reply that decided: the two exchanges before it, each with its beginning and its end.
_LINES_BEFORE = 4
_ENDS = 50


def finding_lines(finding: Finding) -> Iterator[str]:
    """One line on the outcome, and where it is not as it should be, what was said and what is demanded."""
    rules = " ".join(finding.rules) or "-"
    yield printable(f"{finding.outcome:<11}  {rules:<11}  {finding.sources[0]:<18}  {finding.title}")
    match finding.outcome:
        case Outcome.FAILED | Outcome.ADVISED:
            yield from _facts(finding)
            yield printable(f"    because    {finding.why}")
            yield printable(f"    see        {'; '.join(finding.sources)} ({finding.name})")
        case Outcome.SKIPPED:
            yield from _facts(finding)
        case _:
            pass


def _facts(finding: Finding) -> Iterator[str]:
    before = finding.exchange[:-2][-_LINES_BEFORE:] if finding.sent else ()
    facts = [
        ("reason", finding.reason),
        *(("before", _shortened(line)) for line in before),
        ("sent", finding.sent),
        ("came back", finding.came),
        ("expected", finding.expected),
    ]
    yield from (printable(f"    {name:<9}  {fact}") for name, fact in facts if fact)


def _shortened(line: str) -> str:
    return line if len(line) <= 2 * _ENDS else f"{line[:_ENDS]} … {line[-_ENDS:]}"


def summary(counts: Mapping[Outcome, int]) -> str:
    """How many checks came out how."""
    found = ", ".join(f"{counts[outcome]} {outcome}" for outcome in Outcome if counts[outcome])
    return f"{sum(counts.values())} checks: {found}"
