"""Stored mails on their way into a replay: what is chosen, checked, and left to be done."""

import io
from contextlib import aclosing

import pytest
from msgspec import structs

from gateway.address import parse_path
from gateway.cli.journal import Journal
from gateway.cli.rewriting import Rewriting
from gateway.cli.stored_mails import Choice, Preparation, prepared, stored
from gateway.connector import Found, SourceError
from gateway.envelope import Content, Mail
from gateway.testing import plain_mail
from tests.cli.spools import sample


def found(place, mail, **known):
    async def read(is_wanted):
        return mail if is_wanted(mail.envelope) else None

    return Found(place=place, read=read, **known)


async def given(*items):
    for item in items:
        yield item


async def result(*items, choice=Choice(), preparation=Preparation()):  # noqa: B008  # frozen
    async with aclosing(stored(given(*items), choice, preparation)) as reemissions:
        return [each async for each in reemissions]


def changed(mail, **changes):
    return Mail(structs.replace(mail.envelope, message=structs.replace(mail.envelope.message, **changes)), mail.content)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"sha256": "0" * 64}, "the content was changed: its SHA-256"),
        ({"size": 1}, "the content was changed: it has 51 octets instead of 1"),
    ],
)
async def test_content_that_is_not_the_envelopes_goes_nowhere_and_is_closed(tmp_path, change, sentence):
    mail = plain_mail()
    (tmp_path / "content").write_bytes(mail.content.read())
    file = io.FileIO(tmp_path / "content")
    (reemission,) = await result(found("a", changed(Mail(mail.envelope, Content(file=file)), **change)))
    assert reemission.mail is None
    assert reemission.problem.startswith(sentence.replace("51", str(mail.content.size)))
    assert file.closed


async def test_a_sentence_that_quotes_what_is_stored_is_bounded():
    async def read(_):
        raise SourceError("its content-type is " + "x" * 100_000)

    (reemission,) = await result(Found(place="a", read=read))
    assert reemission.problem.startswith("its content-type is x")
    assert reemission.problem.endswith("x …")
    assert len(reemission.problem) < 1000


async def test_a_mail_that_cannot_be_read_does_not_stand_in_the_way_of_others():
    async def read(_):
        raise SourceError("gone")

    mail = plain_mail()
    first, second = await result(Found(place="a", read=read), found("b", mail))
    assert (first.id, first.problem) == ("a", "gone")
    assert second.mail.envelope.id == mail.envelope.id


async def test_the_order_is_that_of_the_source_however_many_are_read_ahead():
    mails = [plain_mail() for _ in range(30)]
    reemissions = await result(*(found(mail.envelope.id, mail) for mail in mails))
    assert [each.id for each in reemissions] == [mail.envelope.id for mail in mails]


async def test_whoever_stops_early_leaves_nothing_open(tmp_path):
    mail = plain_mail()
    (tmp_path / "content").write_bytes(mail.content.read())
    files = [io.FileIO(tmp_path / "content") for _ in range(20)]
    items = [found(str(number), Mail(mail.envelope, Content(file=file))) for number, file in enumerate(files)]
    async with aclosing(stored(given(*items), Choice(), Preparation())) as reemissions:
        first = await anext(reemissions)
    first.mail.content.close()
    begun = [file.closed for file in files]
    assert begun[:8] == [True] * 8
    for file in files:
        file.close()


async def test_what_was_acknowledged_is_left_out_and_who_was_refused_is_not(tmp_path):
    mail = sample("a thousand recipients")
    with Journal(tmp_path / "journal", "test") as journal:
        journal.record([("a", ()), ("b", (3, 7))])
        preparation = Preparation(journal=journal)
        left, fresh = await result(found("a", mail), found("b", mail), found("c", mail), preparation=preparation)
        again = [each async for each in prepared(given(left, structs.replace(left, place="a")), preparation)]
    recipients = mail.envelope.envelope.recipients
    assert (left.positions, left.mail.envelope.envelope.recipients) == ((3, 7), (recipients[3], recipients[7]))
    assert fresh.mail.envelope.envelope.recipients == recipients
    assert [each.place for each in again] == ["b"]


async def test_other_recipients_get_it_once_and_the_first_pattern_counts():
    mail = sample("a thousand recipients").for_recipients((1, 2, 3))
    rules = (("r2@example.org", "two@t.example"), ("*@example.org", "all@t.example"))
    rewriting = Rewriting(
        rules=tuple((pattern, parse_path(address.encode(), utf8=True)) for pattern, address in rules),
        hostname="mx.example.org",
    )
    (reemission,) = await result(found("a", mail), preparation=Preparation(rewriting=rewriting))
    envelope = reemission.mail.envelope
    assert [each.address.raw for each in envelope.envelope.recipients] == ["all@t.example", "two@t.example"]
    assert [header.name for header in envelope.metadata.trace] == ["Received", "Received"]
    assert reemission.mail.content is mail.content
