"""Receipts as response codes: `[ID id]`, `[SPOOLED]`, and where each destination has the mail, `[KAFKA mail 3 1042]`.

The code of a receipt is named after the connector's type. Its parameters are the values of the receipt's location, in
the order in which the type declares them; one that is missing is empty, and those missing at the end are left out. A
receipt whose values are not printable ASCII, or of a type that declares none, has no code. Behind a receipt, with a
code or without, comes `[RECEIPT token]` where it is signed.
"""

import time
from collections.abc import Iterable, Mapping, Sequence

from msgspec import structs

from gateway.connector import Receipt
from gateway.delivery import RecipientOutcome
from gateway.envelope import Envelope
from gateway.receipts import Claims, Signer
from gateway.smtp import Reply
from gateway.smtp.response_codes import ResponseCode, is_code_name

__all__ = ["RECEIPT", "Coordinates", "Tokens", "code_name", "receipt_names", "signed_receipts", "with_receipts"]

RECEIPT = "RECEIPT"
"""The name of the code that has a signed receipt."""

Coordinates = Mapping[str, tuple[str, ...]]
"""For each connector type the keys of a receipt's location, in the order in which a code has their values."""

Tokens = Mapping[tuple[str, str], str]
"""Signed receipts, by the type and the name of the connector."""

_ID = "ID"
_SPOOLED = "SPOOLED"
# The type of the spool's own receipts.
_SPOOL = "spool"
# Names that say something else.
_TAKEN = frozenset({_ID, _SPOOLED, RECEIPT, "REFERRAL", "MAILDATA", "STOKEN", "DELIVERY-ID"})


def receipt_names(coordinates: Coordinates, *, signed: bool = False) -> tuple[str, ...]:
    """The names of the codes that receipts may become; `signed` says whether they can be signed."""
    names = (name for each, keys in coordinates.items() if keys and (name := code_name(each)))
    return (_ID, _SPOOLED, *names, *((RECEIPT,) if signed else ()))


def code_name(type_: str) -> str:
    """The name of the code for receipts of this connector type; "" where it cannot have one."""
    name = type_.upper().replace("_", "-")
    return name if is_code_name(name) and name not in _TAKEN else ""


def signed_receipts(signer: Signer, envelope: Envelope, outcomes: Sequence[RecipientOutcome]) -> Tokens:
    """A token for each receipt of a recipient whose mail was accepted: one, however many recipients it is for."""
    receipts = {_key(receipt): receipt for outcome in outcomes if not outcome.failures for receipt in outcome.receipts}
    now = time.time()
    return {
        key: signer.sign(Claims.of(receipt, envelope.message, gateway=envelope.gateway, now=now))
        for key, receipt in receipts.items()
    }


def with_receipts(
    replies: Sequence[Reply],
    id_: str,
    outcomes: Sequence[RecipientOutcome],
    coordinates: Coordinates,
    tokens: Tokens,
    *,
    each: bool,
) -> tuple[Reply, ...]:
    """The final replies for the mail `id_`, with what a client reads who has asked for receipts; refusals have none.

    `each` says that there is a reply for each recipient (LMTP), which then names it. One reply for all of them has one
    receipt of each destination.
    """
    if each:
        return tuple(
            structs.replace(
                reply,
                codes=_codes(reply, id_, outcome.receipts, coordinates, tokens),
                recipient=outcome.recipient.address.raw,
            )
            for reply, outcome in zip(replies, outcomes, strict=True)
        )
    (reply,) = replies
    receipts = {_key(receipt): receipt for outcome in outcomes for receipt in outcome.receipts}
    return (structs.replace(reply, codes=_codes(reply, id_, receipts.values(), coordinates, tokens)),)


def _codes(
    reply: Reply, id_: str, receipts: Iterable[Receipt], coordinates: Coordinates, tokens: Tokens
) -> tuple[ResponseCode, ...]:
    if not reply.is_positive:
        return ()
    codes = [ResponseCode(_ID, (id_,))]
    for receipt in receipts:
        if (code := _code(receipt, coordinates.get(receipt.type, ()))) is not None:
            codes.append(code)
        if token := tokens.get(_key(receipt)):
            codes.append(ResponseCode(RECEIPT, (token,)))
    return tuple(codes)


def _key(receipt: Receipt) -> tuple[str, str]:
    return receipt.type, receipt.connector


def _code(receipt: Receipt, keys: tuple[str, ...]) -> ResponseCode | None:
    if receipt.type == _SPOOL:
        return ResponseCode(_SPOOLED)
    name = code_name(receipt.type)
    values = [str(receipt.location.get(key, "")) for key in keys]
    while values and not values[-1]:
        values.pop()
    if not name or not values or not all(value.isascii() and value.isprintable() for value in values):
        return None
    return ResponseCode(name, tuple(values))
