"""Receipts as response codes, whatever connector they come from."""

import pytest

from gateway.address import parse_path
from gateway.connector import Receipt
from gateway.delivery import RecipientOutcome
from gateway.envelope import Recipient
from gateway.ingress.receipt_codes import receipt_names, with_receipts
from gateway.smtp import Reply

ACCEPTED = Reply.of(250, "2.0.0", "01K accepted")
REFUSED = Reply.of(451, "4.3.0", "01K not now")
COORDINATES = {"s3": ("bucket", "key", "version", "etag"), "my_store": ("shelf",), "bare": ()}


def receipt(type_: str, connector: str = "", **location) -> Receipt:
    return Receipt(id="01K", connector=connector or type_, type=type_, location=location)


def outcome(*receipts: Receipt, address: bytes = b"a@example.org") -> RecipientOutcome:
    return RecipientOutcome(
        recipient=Recipient(address=parse_path(address, utf8=False)), receipts=receipts, failures=()
    )


def codes(*receipts: Receipt) -> list[str]:
    (reply,) = with_receipts((ACCEPTED,), "01K", (outcome(*receipts),), COORDINATES, {}, each=False)
    return [str(code) for code in reply.codes]


def test_parameters_stand_in_the_declared_order_and_no_other_is_said():
    place = {"secret": "x", "etag": "e", "key": "k", "version": 7, "bucket": "b"}
    assert codes(receipt("s3", **place)) == ["[ID 01K]", "[S3 b k 7 e]"]


def test_what_is_missing_is_empty_and_left_out_at_the_end():
    assert codes(receipt("s3", bucket="b", key="k", etag="e"))[1:] == ['[S3 b k "" e]']
    assert codes(receipt("s3", bucket="b", key="k"))[1:] == ["[S3 b k]"]


@pytest.mark.parametrize("value", ["é", "a\r\nb", "\x7f", "\0"])
def test_a_receipt_that_cannot_be_written_has_no_code(value):
    assert codes(receipt("s3", bucket="b", key=value), receipt("my_store", shelf="x")) == ["[ID 01K]", "[MY-STORE x]"]


def test_a_receipt_of_a_type_that_declares_nothing_has_no_code():
    assert codes(receipt("bare", place="x"), receipt("unheard-of", place="x")) == ["[ID 01K]"]


def test_names_that_say_something_else_are_not_given_to_connectors():
    types = ("id", "spooled", "receipt", "referral", "maildata", "stoken", "delivery_id", "2nd", "ü", "bare", "kafka")
    coordinates = dict.fromkeys(types, ("place",)) | {"bare": ()}
    assert receipt_names(coordinates) == ("ID", "SPOOLED", "KAFKA")
    (reply,) = with_receipts(
        (ACCEPTED,), "01K", (outcome(*(receipt(each, place="x") for each in types)),), coordinates, {}, each=False
    )
    assert [code.name for code in reply.codes] == ["ID", "KAFKA"]


def test_one_reply_for_all_recipients_has_each_destination_once():
    both, one, other = (receipt("my_store", name, shelf=name) for name in ("both", "one", "other"))
    outcomes = (outcome(both, one), outcome(both, other))
    (reply,) = with_receipts((ACCEPTED,), "01K", outcomes, COORDINATES, {}, each=False)
    assert [str(code) for code in reply.codes[1:]] == ["[MY-STORE both]", "[MY-STORE one]", "[MY-STORE other]"]
    assert reply.recipient == ""


def test_each_recipient_has_its_own_receipts_and_a_refusal_none():
    outcomes = (outcome(receipt("my_store", shelf="x")), outcome(receipt("my_store", shelf="x"), address=b"b@x.org"))
    first, second = with_receipts((ACCEPTED, REFUSED), "01K", outcomes, COORDINATES, {}, each=True)
    assert [str(code) for code in first.codes] == ["[ID 01K]", "[MY-STORE x]"]
    assert (second.codes, second.recipient, second.lines) == ((), "b@x.org", REFUSED.lines)
