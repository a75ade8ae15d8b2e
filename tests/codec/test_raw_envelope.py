"""Headers and content, read into the envelope that they were written from."""

import pytest
from msgspec import structs

from gateway.codec import CodecError, raw, raw_envelope
from gateway.testing import plain_mail, sample_mails


def test_every_sample_mail_comes_back_but_for_its_disposition():
    for name, mail in sample_mails().items():
        found = raw_envelope.decode(raw.encode(mail.envelope), mail.content.read())
        mail.content.close()
        metadata = structs.replace(mail.envelope.metadata, disposition=())
        assert found == structs.replace(mail.envelope, metadata=metadata), name


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda headers: [each for each in headers if each[0] != "mail-id"], "the header mail-id is missing"),
        (lambda headers: [each for each in headers if each[0] != "mail-client"], "the header mail-client is missing"),
        (lambda headers: [*headers, ("mail-id", b"x")], "the header mail-id is there twice"),
        (lambda headers: [*headers, ("mail-chunks", b"many")], "not those of an envelope"),
        (lambda headers: [("mail-id", b"x"), *headers[1:]], "not those of an envelope"),
        (lambda headers: [*headers, ("mail-hello2", b"\xff")], "not those of an envelope"),
    ],
)
def test_what_is_not_as_it_was_written_is_refused(change, sentence):
    mail = plain_mail()
    with pytest.raises(CodecError, match=sentence):
        raw_envelope.decode(change(raw.encode(mail.envelope)), mail.content.read())
