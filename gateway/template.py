"""Templates over the envelope, for topics, keys and prefixes: `mail.{listener}`, `{recipient_domain}`.

Only the fields listed here exist; a template is checked when the configuration is read, so nothing can fail later.
Values come from strangers (addresses!): each use says which characters its destination takes and the rest become `_`.
"""

import re
from collections.abc import Callable

from gateway.envelope.model import Envelope

__all__ = ["FIELDS", "Template", "TemplateError"]

FIELDS: dict[str, Callable[[Envelope], str]] = {
    "id": lambda e: e.id,
    "year": lambda e: e.received_at[0:4],
    "month": lambda e: e.received_at[5:7],
    "day": lambda e: e.received_at[8:10],
    "hour": lambda e: e.received_at[11:13],
    "gateway": lambda e: e.gateway,
    "listener": lambda e: e.transaction.listener,
    "authenticated_as": lambda e: e.transaction.authenticated_as,
    "sender": lambda e: e.envelope.mail_from.address.raw,
    "sender_domain": lambda e: e.envelope.mail_from.address.domain.lower(),
    "recipient": lambda e: e.envelope.recipients[0].address.raw,
    "recipient_domain": lambda e: e.envelope.recipients[0].address.domain.lower(),
}

_FIELD = re.compile(r"\{([^{}]*)\}")


class TemplateError(ValueError):
    """The template names a field that does not exist, or has a stray brace."""


class Template:
    """A text with `{field}` in it."""

    __slots__ = ("_parts", "text")

    def __init__(self, text: str) -> None:
        """Raises TemplateError when `text` names an unknown field."""
        # re.split with one group gives literal, field, literal, field, …, literal.
        parts = _FIELD.split(text)
        for name in parts[1::2]:
            if name not in FIELDS:
                raise TemplateError(f"{{{name}}} is not a field of a template; there are: {', '.join(sorted(FIELDS))}")
        if any("{" in literal or "}" in literal for literal in parts[0::2]):
            raise TemplateError("a brace has no partner")
        self.text = text
        self._parts = tuple(parts)

    @property
    def is_constant(self) -> bool:
        """Whether the text names no field at all."""
        return len(self._parts) == 1

    def expand(self, envelope: Envelope, *, unsafe: re.Pattern[str] | None = None) -> str:
        """The text for one envelope. Each character of a field's value that `unsafe` matches becomes `_`."""
        expanded = list(self._parts)
        for index in range(1, len(expanded), 2):
            value = FIELDS[expanded[index]](envelope)
            expanded[index] = unsafe.sub("_", value) if unsafe else value
        return "".join(expanded)
