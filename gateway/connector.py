"""The contract between the gateway and a connector; all that a connector needs to import, with the values it names.

A connector is declared once, as a `ConnectorType` that an entry point of the group `mailsluice.connectors` names. It is
built from its settings, opened once, given mails, and closed. What it may count on and what it must keep is written at
`Connector`; `gateway.testing` has the conformance kit that checks it.

    DeliveryFailure
    ├── TransientFailure       not stored, or perhaps stored: the same mail may come again under the same id
    └── PermanentFailure       this destination will never take this mail
        └── DestinationClosed  nor any other, until an operator has looked
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Generic, Literal, Protocol, Self, TypeVar, runtime_checkable

from msgspec import Struct
from pydantic import BaseModel, ConfigDict, Field, model_validator

from gateway.envelope.mail import Mail
from gateway.retries import FOR_EVER, STANDARD_WEBHOOKS, RetrySchedule
from gateway.source import Extent, Fetch, Found, Offsets, Source, SourceError, Spot
from gateway.status import Status

__all__ = [
    "ENTRY_POINT_GROUP",
    "FOR_EVER",
    "STANDARD_WEBHOOKS",
    "Connector",
    "ConnectorSettings",
    "ConnectorType",
    "DeliveryFailure",
    "DestinationClosed",
    "Extent",
    "Fetch",
    "Found",
    "Mail",
    "Offsets",
    "OrderedConnector",
    "PermanentFailure",
    "Receipt",
    "Refused",
    "RetrySchedule",
    "Source",
    "SourceError",
    "Spot",
    "TransientFailure",
]

ENTRY_POINT_GROUP = "mailsluice.connectors"


class DeliveryFailure(Exception):
    """A destination did not take a mail. `text` is what the SMTP client may read; `cause` is for the log only.

    `status` is the enhanced status code (RFC 3463). `text` is one line of printable ASCII without internals:
    no host names, paths or exception texts.
    """

    def __init__(self, status: Status, text: str, *, cause: str = "") -> None:
        super().__init__(f"{status} {text}" + (f" ({cause})" if cause else ""))
        self.status = status
        self.text = text
        self.cause = cause or text


class TransientFailure(DeliveryFailure):
    """The mail is not known to be stored; trying again, under the same id, may succeed. `status` is 4.x.x.

    `possibly_stored` says that the outcome is unknown: the destination may have the mail, and the next attempt may
    make a duplicate. `retry_after_seconds` is how long the destination asks to be left alone, 0 where it does not.
    `about_mail` says that the destination works and has put off this mail alone: others may fare better now.
    """

    def __init__(
        self,
        status: Status,
        text: str,
        *,
        cause: str = "",
        possibly_stored: bool = False,
        retry_after_seconds: float = 0.0,
        about_mail: bool = False,
    ) -> None:
        super().__init__(status, text, cause=cause)
        self.possibly_stored = possibly_stored
        self.retry_after_seconds = retry_after_seconds
        self.about_mail = about_mail


class PermanentFailure(DeliveryFailure):
    """Trying again cannot succeed: the destination refuses this mail. `status` is 5.x.x."""


class DestinationClosed(PermanentFailure):
    """The destination wants no mail at all any more (HTTP 410). Spooled mail waits until an operator has looked."""


class Refused(Struct, frozen=True, kw_only=True):
    """One recipient for whom a destination did not take a mail that it took for others, and why.

    `position` is the recipient's in `mail.envelope.envelope.recipients`, as the mail was emitted. The failure is this
    recipient's alone, and so never DestinationClosed.
    """

    position: int
    failure: TransientFailure | PermanentFailure


class Receipt(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Proof that a destination holds a mail: where it lies, in the destination's own coordinates.

    `type` is the connector type; `location` for example `{"topic": "mail", "partition": 3, "offset": 1042}`.

    It is proof for all recipients but those in `refused`: the recipients for whom the destination did not take the
    mail, each once. Where it took it for none, emit raises instead, a TransientFailure where one of theirs is.
    `notifying` has the positions of those about whom the destination itself notifies the originator from here on, as
    a mail server with DSN does (RFC 3461 §5.2.1): nobody else tells that it has the mail. The written form of a receipt
    is without both.
    """

    id: str
    connector: str
    type: str
    location: dict[str, str | int]
    refused: tuple[Refused, ...] = ()
    notifying: tuple[int, ...] = ()


class ConnectorSettings(BaseModel):
    """The keys that every `[[connector]]` table has. A connector's own settings derive from this class.

    Each field has a description; the reference page and the configuration schema are generated from it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[
        str,
        Field(
            pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$", description="The name by which routes and logs refer to it."
        ),
    ]
    type: Annotated[str, Field(description="The connector type.")]
    metadata: Annotated[
        Literal["preserve", "flatten"],
        Field(
            description="What becomes of metadata containers: `preserve` carries each as a field of its own, `flatten` "
            "prepends the trace fields to the content and discards the rest, listing them in the disposition."
        ),
    ] = "preserve"
    deadline_seconds: Annotated[
        float,
        Field(gt=0, le=540, description="How long one delivery may take before the client is told to try again later."),
    ] = 60.0

    def references(self) -> tuple[str, ...]:
        """The names of other connectors that this one uses; they are built before it."""
        return ()

    def wrong_combinations(self) -> tuple[tuple[bool, str], ...]:
        """For each combination of keys that makes no sense, whether it is there, and what to say of it then."""
        return ()

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        wrong = [sentence for is_wrong, sentence in self.wrong_combinations() if is_wrong]
        if wrong:
            raise ValueError("; ".join(wrong))
        return self


class Connector(Protocol):
    """One configured destination.

    Calls come from one event loop. `emit` runs concurrently with itself, up to the type's `max_in_flight`.
    """

    async def open(self) -> None:
        """Make ready, once. A destination that is down is no reason to fail: `emit` will say so, mail by mail.

        Raises PermanentFailure for what only the operator can mend (a bucket that does not exist, a bad password).
        """

    async def emit(self, mail: Mail) -> Receipt:
        """Store or hand over one mail and return only when the destination has it durably.

        A destination that answers for each recipient may have it for some of them: the others are in the receipt's
        `refused`, and only they are tried again.

        Raises TransientFailure or PermanentFailure, and nothing else. It may be cancelled at any point (the deadline)
        and must then leave nothing half-done that a reader would take for a mail, nor anything running. The same mail
        may come again under the same id after a failure: emitting it twice must be recognisable by that id.
        The content may be read in any thread until `emit` returns, not after.
        """

    async def close(self) -> None:
        """Release everything within a few seconds, also when the destination hangs."""


@runtime_checkable
class OrderedConnector(Protocol):
    """A connector whose destination keeps an order: spooled mails of one key are emitted one after another."""

    def ordering_key(self, mail: Mail) -> bytes | None:
        """The key in whose order `mail` stands, at most 1,024 octets; None for a mail without a place in any order.

        Takes no time and raises nothing.
        """


SettingsT = TypeVar("SettingsT", bound=ConnectorSettings)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectorType(Generic[SettingsT]):
    """The declaration of a connector: what an entry point of `mailsluice.connectors` names.

    `build` gets the settings and the connectors that `settings.references()` names, and does no I/O. `retries` is when
    a spooled mail is tried again after a transient failure. `source`, where there is one, makes the reading side, for
    `mailsluice replay` and for content that others refer to; it does no I/O.

    `coordinates` are the keys of a receipt's location in the order in which a reply says their values,
    `[KAFKA mail 3 1042]`. They are part of the protocol: add to their end only, and nothing secret. `spot` says where
    the source has the mail of such a location, of which it gets the texts; it raises ValueError, with one clause, for a
    location that is not of a connector with these settings.
    """

    name: str
    summary: str
    stability: Literal["stable", "beta", "experimental"]
    settings: type[SettingsT]
    build: Callable[[SettingsT, Mapping[str, Connector]], Connector]
    max_in_flight: int
    retries: RetrySchedule = FOR_EVER
    source: Callable[[SettingsT], Source] | None = None
    coordinates: tuple[str, ...] = ()
    spot: Callable[[SettingsT, Mapping[str, str]], Spot] | None = None
