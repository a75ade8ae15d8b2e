import re

from gateway.envelope import ContentReference, new_id
from gateway.envelope.ulid import PATTERN
from gateway.testing.samples import plain_mail


def test_an_inline_envelope_holds_the_octets():
    mail = plain_mail()
    message = mail.inline().message
    assert (message.content, message.reference) == (mail.content.read(), None)


def test_an_envelope_by_reference_says_where_the_octets_are():
    reference = ContentReference(connector="archive", type="s3", location={"key": "a"})
    message = plain_mail().by_reference(reference).message
    assert (message.content, message.reference) == (None, reference)


def test_ids_are_unique_and_ordered_by_time():
    ids = [new_id() for _ in range(1000)]
    assert len(set(ids)) == 1000
    assert all(re.fullmatch(PATTERN, one) for one in ids)
    assert [one[:10] for one in ids] == sorted(one[:10] for one in ids)
