"""Which receipts are signed, and how often."""

from functools import cache

import pytest

from gateway.connector import Receipt
from gateway.delivery import Failure, RecipientOutcome
from gateway.ingress.receipt_codes import signed_receipts, with_receipts
from gateway.keys import Key, PublicKey, Purpose
from gateway.keys.ed25519 import public_octets
from gateway.receipts import Signer, verify_token
from gateway.smtp import Reply
from gateway.status import Status
from gateway.testing import sample_mails

SECRET = bytes(range(32))
KEYS = {"1f0c2a9d": PublicKey(id="1f0c2a9d", octets=public_octets(SECRET))}
FAILURE = Failure(connector="copies", status=Status.parse("4.0.0"), text="not now", cause="")
ACCEPTED = Reply.of(250, "2.0.0", "accepted")


class Counting(Signer):
    """A signer that knows how often it signed."""

    count = 0

    def sign(self, claims):
        self.count += 1
        return super().sign(claims)


@pytest.fixture
def signer():
    return Counting(Key(purpose=Purpose.RECEIPT, id="1f0c2a9d", created="2026-11-01T00:00:00.000000Z", secret=SECRET))


@cache
def sample():
    mails = sample_mails()
    for mail in mails.values():
        mail.content.close()
    return mails["plain"].envelope


@pytest.fixture
def envelope():
    return sample()


def receipt(envelope, *, connector="archive", type_="directory"):
    return Receipt(id=envelope.id, connector=connector, type=type_, location={"path": "x"})


def outcome(*receipts, failures=()):
    return RecipientOutcome(recipient=sample().envelope.recipients[0], receipts=receipts, failures=failures)


def test_one_receipt_for_many_recipients_is_signed_once(signer, envelope):
    one = receipt(envelope)
    tokens = signed_receipts(signer, envelope, [outcome(one)] * 1000)
    assert signer.count == 1
    assert verify_token(tokens["directory", "archive"], KEYS).jti == envelope.id


def test_what_a_refused_recipient_leaves_behind_is_not_signed(signer, envelope):
    assert signed_receipts(signer, envelope, [outcome(receipt(envelope), failures=(FAILURE,))]) == {}
    assert signer.count == 0


def test_a_connector_of_the_name_of_the_spool_has_its_own_token(signer, envelope):
    both = [outcome(receipt(envelope, connector="spool")), outcome(receipt(envelope, connector="spool", type_="spool"))]
    tokens = signed_receipts(signer, envelope, both)
    (reply,) = with_receipts([ACCEPTED], envelope.id, both, {}, tokens, each=False)
    said = [verify_token(code.parameters[0], KEYS).to for code in reply.codes if code.name == "RECEIPT"]
    assert said == ["directory", "spool"]


def test_a_refusal_has_no_token(signer, envelope):
    accepted = [outcome(receipt(envelope))]
    tokens = signed_receipts(signer, envelope, accepted)
    (reply,) = with_receipts([Reply.of(451, "4.0.0", "not now")], envelope.id, accepted, {}, tokens, each=False)
    assert reply.codes == ()


@pytest.mark.parametrize("each", [True, False], ids=["LMTP", "SMTP"])
def test_a_token_stands_behind_the_receipt_that_it_signs(signer, envelope, each):
    outcomes = [outcome(receipt(envelope), receipt(envelope, connector="copies", type_="memory"))]
    tokens = signed_receipts(signer, envelope, outcomes)
    (reply,) = with_receipts([ACCEPTED], envelope.id, outcomes, {"directory": ("path",)}, tokens, each=each)
    # The second type declares no coordinates: its receipt has a token only.
    assert [code.name for code in reply.codes] == ["ID", "DIRECTORY", "RECEIPT", "RECEIPT"]
    assert reply.codes[2].parameters == (tokens["directory", "archive"],)
    assert reply.codes[3].parameters == (tokens["memory", "copies"],)
    wire = reply.encode(enhanced=True, structured={"ID", "DIRECTORY", "RECEIPT"})
    assert all(len(line) <= 510 for line in wire.split(b"\r\n"))
    assert all(f"[RECEIPT {token}]".encode() in wire for token in tokens.values())
