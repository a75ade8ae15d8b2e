"""What the spool commands print: lines for people, and JSON whose fields docs/operations.md names."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from gateway.cli.terminal import decoded, json_line, printable
from gateway.dates import timestamp
from gateway.envelope import Envelope, Recipient, Sender
from gateway.envelope.headers import is_named
from gateway.spool.inspection import Paused, SpooledDelivery, SpooledMessage

__all__ = [
    "HEADING",
    "Totals",
    "counts_json",
    "delivery_json",
    "delivery_line",
    "message_json",
    "message_lines",
    "paused_json",
    "refused_json",
    "resumed_json",
    "since",
]

HEADING = (
    f"{'ID':26} {'ACCEPTED':20} {'AGE':>4} {'SIZE':>9} {'CONNECTOR':16} {'STATE':11} {'TRIES':>5} {'DUE':>5}"
    "  FROM, TO, ERROR"
)
_SHOWN_HEADERS = ("from", "to", "cc", "subject", "date", "message-id")
_SHOWN_RECIPIENTS = 20
_SHOWN_CHARACTERS = 1000
_UNITS = ((604800, "w"), (86400, "d"), (3600, "h"), (60, "m"), (1, "s"))


class Totals:
    """What a list of deliveries, in order, comes to."""

    def __init__(self) -> None:
        self._states: Counter[str] = Counter()
        self._messages = 0
        self._octets = 0
        self._last = (-1, -1)

    def add(self, delivery: SpooledDelivery) -> None:
        """Count one more."""
        self._states[delivery.state] += 1
        if (delivery.spool, delivery.message) != self._last:
            self._last = delivery.spool, delivery.message
            self._messages += 1
            self._octets += delivery.size

    def __str__(self) -> str:
        states = ", ".join(f"{state} {count}" for state, count in sorted(self._states.items()))
        deliveries = f"{self._states.total()} ({states})" if states else "0"
        return f"messages: {self._messages}, deliveries: {deliveries}, octets: {self._octets}"


def delivery_line(delivery: SpooledDelivery, *, now: float) -> str:
    """One line of a list; its columns are those of HEADING."""
    first = f"<{delivery.recipients[0].raw}>" if delivery.recipients else "-"
    more = f" +{len(delivery.recipients) - 1}" if len(delivery.recipients) > 1 else ""
    error = _error(delivery)
    return printable(
        f"{delivery.id or '?':26} {_utc(delivery.accepted_at):20} {_span(now - delivery.accepted_at):>4}"
        f" {delivery.size:>9} {delivery.connector:16} {delivery.state:11} {delivery.attempts:>5}"
        f" {_due(delivery, now):>5}  <{delivery.sender}> {first}{more}{'  ' if error else ''}{error}"
    )


def delivery_json(delivery: SpooledDelivery) -> str:
    """The same as JSON."""
    return json_line(_delivery(delivery))


def paused_json(paused: Paused) -> str:
    """A paused connector as JSON."""
    return json_line(_paused(paused))


def refused_json(delivery: SpooledDelivery, problem: str) -> str:
    """A delivery that stays as it is although it was to be tried again, and why."""
    return json_line({"kind": "refused", "id": delivery.id, "connector": delivery.connector, "problem": problem})


def resumed_json(connector: str) -> str:
    """A connector that gets mail again."""
    return json_line({"kind": "resumed", "connector": connector})


def counts_json(kind: str, **counts: int) -> str:
    """What a command has done, in numbers."""
    return json_line({"kind": kind, **counts})


def since(paused: Paused) -> str:
    """A paused connector as a line."""
    return printable(f"paused: {paused.connector} since {_utc(paused.since)}: {paused.cause}")


def message_json(message: SpooledMessage, deliveries: Sequence[SpooledDelivery], problem: str) -> str:
    """All about one message, the octets of its content aside."""
    return json_line(
        {
            "kind": "message",
            "id": message.id,
            "accepted_at": timestamp(int(message.accepted_at * 1e9)),
            "size": message.size,
            "in_file": message.in_file,
            "problem": problem,
            "envelope": None if message.envelope is None else msgspec.to_builtins(message.envelope),
            "deliveries": [_delivery(delivery) for delivery in deliveries],
        }
    )


def message_lines(
    message: SpooledMessage,
    deliveries: Sequence[SpooledDelivery],
    paused: Sequence[Paused],
    problem: str,
    *,
    now: float,
) -> Iterator[str]:
    """All about one message, for people."""
    yield _line("id", message.id)
    yield _line("accepted", f"{_utc(message.accepted_at)}, {_span(now - message.accepted_at)} ago")
    where = f"in content/{message.id}" if message.in_file else "in the database"
    yield _line("content", f"{message.size} octets {where}, {problem or 'as it was received'}")
    if message.envelope is not None:
        yield from _envelope_lines(message.envelope)
    resting = {each.connector: each for each in paused}
    for delivery in deliveries:
        yield ""
        attempts = f"{delivery.attempts} attempt{'' if delivery.attempts == 1 else 's'}"
        due = f", due {'now' if delivery.due <= now else _utc(delivery.due)}" if delivery.state == "waiting" else ""
        duplicate = ", possibly delivered before" if delivery.possible_duplicate else ""
        yield _line("connector", delivery.connector)
        yield _line("state", f"{delivery.state}, {attempts}{due}{duplicate}")
        if delivery.connector in resting:
            yield since(resting[delivery.connector])
        if error := _error(delivery):
            yield _line("error", error)
        yield from _some_lines("recipient", [address.raw for address in delivery.recipients])


def _envelope_lines(envelope: Envelope) -> Iterator[str]:
    came = envelope.transaction
    tls = f", {came.tls.version}" if came.tls else ""
    user = f", authenticated as {came.authenticated_as}" if came.authenticated_as else ""
    yield _line("sha256", envelope.message.sha256)
    yield _line(
        "received",
        f"{envelope.received_at} by {envelope.gateway} ({came.listener}) from {came.client.address} ({came.hello})"
        f" with {came.protocol}{tls}{user}",
    )
    yield _line("from", _path(envelope.envelope.mail_from))
    yield from _some_lines("to", [_path(recipient) for recipient in envelope.envelope.recipients])
    for container in envelope.metadata.containers:
        yield _line("container", f"type {container.type}, {len(container.data)} octets, {container.origin}")
    for name in _SHOWN_HEADERS:
        header = next((each for each in envelope.message.headers if is_named(each, name)), None)
        if header is not None:
            yield _line(f"{name}:", decoded(header.value))


def _delivery(delivery: SpooledDelivery) -> dict[str, Any]:
    return {
        "kind": "delivery",
        "id": delivery.id,
        "accepted_at": timestamp(int(delivery.accepted_at * 1e9)),
        "size": delivery.size,
        "sender": delivery.sender,
        "recipients": [address.raw for address in delivery.recipients],
        "connector": delivery.connector,
        "state": delivery.state,
        "attempts": delivery.attempts,
        "due": timestamp(int(delivery.due * 1e9)) if delivery.state == "waiting" else None,
        "possible_duplicate": delivery.possible_duplicate,
        "status": delivery.status,
        "cause": delivery.cause,
        "problem": delivery.problem,
    }


def _paused(paused: Paused) -> dict[str, Any]:
    return {
        "kind": "paused",
        "connector": paused.connector,
        "since": timestamp(int(paused.since * 1e9)),
        "cause": paused.cause,
    }


def _line(name: str, value: str) -> str:
    return printable(f"{name:11} {value[:_SHOWN_CHARACTERS]}{'…' if len(value) > _SHOWN_CHARACTERS else ''}")


def _some_lines(name: str, values: Sequence[str]) -> Iterator[str]:
    for value in values[:_SHOWN_RECIPIENTS]:
        yield _line(name, value)
    if len(values) > _SHOWN_RECIPIENTS:
        yield _line(name, f"and {len(values) - _SHOWN_RECIPIENTS} more")


def _path(party: Sender | Recipient) -> str:
    parameters = [f"{each.keyword}={each.value}" if each.value else each.keyword for each in party.parameters]
    return " ".join([f"<{party.address.raw}>", *parameters])


def _error(delivery: SpooledDelivery) -> str:
    return delivery.problem or f"{delivery.status} {delivery.cause}".strip()


def _due(delivery: SpooledDelivery, now: float) -> str:
    if delivery.state != "waiting":
        return "-"
    return "now" if delivery.due <= now else _span(delivery.due - now)


def _span(seconds: float) -> str:
    return next((f"{int(seconds / unit)}{name}" for unit, name in _UNITS if seconds >= unit), "0s")


def _utc(seconds: float) -> str:
    return timestamp(int(seconds) * 1_000_000_000).replace(".000000Z", "Z")
