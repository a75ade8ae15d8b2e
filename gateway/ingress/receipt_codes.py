"""Receipts as response codes: `[ID id]`, `[SPOOLED]`, and where each destination has the mail, `[KAFKA mail 3 1042]`.

The code of a receipt is named after the connector's type. Its parameters are the values of the receipt's location, in
the order in which the type declares them; one that is missing is empty, and those missing at the end are left out. A
receipt whose values are not printable ASCII, or of a type that declares none, has no code.
"""

from collections.abc import Iterable, Mapping, Sequence

from msgspec import structs

from gateway.connector import Receipt
from gateway.delivery import RecipientOutcome
from gateway.smtp import Reply
from gateway.smtp.response_codes import ResponseCode, is_code_name

__all__ = ["Coordinates", "receipt_names", "with_receipts"]

Coordinates = Mapping[str, tuple[str, ...]]
"""For each connector type the keys of a receipt's location, in the order in which a code has their values."""

_ID = "ID"
_SPOOLED = "SPOOLED"
# The type of the spool's own receipts.
_SPOOL = "spool"
# Names that say something else.
_TAKEN = frozenset({_ID, _SPOOLED, "RECEIPT", "REFERRAL", "MAILDATA", "STOKEN", "DELIVERY-ID"})


def receipt_names(coordinates: Coordinates) -> tuple[str, ...]:
    """The names of the codes that receipts may become."""
    return (_ID, _SPOOLED, *(name for each, keys in coordinates.items() if keys and (name := _name(each))))


def with_receipts(
    replies: Sequence[Reply], id_: str, outcomes: Sequence[RecipientOutcome], coordinates: Coordinates, *, each: bool
) -> tuple[Reply, ...]:
    """The final replies for the mail `id_`, with what a client reads who has asked for receipts; refusals have none.

    `each` says that there is a reply for each recipient (LMTP), which then names it. One reply for all of them has one
    receipt of each destination.
    """
    if each:
        return tuple(
            structs.replace(
                reply,
                codes=_codes(reply, id_, outcome.receipts, coordinates),
                recipient=outcome.recipient.address.raw,
            )
            for reply, outcome in zip(replies, outcomes, strict=True)
        )
    (reply,) = replies
    receipts = {receipt.connector: receipt for outcome in outcomes for receipt in outcome.receipts}
    return (structs.replace(reply, codes=_codes(reply, id_, receipts.values(), coordinates)),)


def _codes(reply: Reply, id_: str, receipts: Iterable[Receipt], coordinates: Coordinates) -> tuple[ResponseCode, ...]:
    if not reply.is_positive:
        return ()
    found = (_code(receipt, coordinates.get(receipt.type, ())) for receipt in receipts)
    return (ResponseCode(_ID, (id_,)), *(code for code in found if code is not None))


def _code(receipt: Receipt, keys: tuple[str, ...]) -> ResponseCode | None:
    if receipt.type == _SPOOL:
        return ResponseCode(_SPOOLED)
    name = _name(receipt.type)
    values = [str(receipt.location.get(key, "")) for key in keys]
    while values and not values[-1]:
        values.pop()
    if not name or not values or not all(value.isascii() and value.isprintable() for value in values):
        return None
    return ResponseCode(name, tuple(values))


def _name(type_: str) -> str:
    name = type_.upper().replace("_", "-")
    return name if is_code_name(name) and name not in _TAKEN else ""
