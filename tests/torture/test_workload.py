"""The bench's mail is what its seed says, and what a client may send."""

from itertools import islice

import pytest

from tests.torture.workload import Mode, Traffic, mails


def first(name, count=200, **traffic):
    return list(islice(mails(name, Traffic(**traffic)), count))


def test_the_same_seed_gives_the_same_mails():
    assert first("7") == first("7")
    assert first("7") != first("8")


def test_every_mode_and_size_comes():
    sent = first("7", 600)
    assert {mail.mode for mail in sent} == set(Mode)
    assert {0, 1, 2, 4096, 65535, 65536, 65537, 1024 * 1024} == {len(mail.content) for mail in sent}
    assert len({mail.marker for mail in sent}) == 600


def test_up_to_a_thousand_chunks_and_names_in_utf8_come():
    sent = first("7", 600)
    assert {len(mail.chunks) for mail in sent} == {0, 1, 2, 3, 6, 1000}
    assert {mail.is_utf8 for mail in sent} == {True, False}
    assert {mail.mode for mail in sent if mail.containers} == {Mode.BMTD, Mode.LMTP_BMTD}


def test_chunks_make_up_the_content():
    assert all(sum(mail.chunks) == len(mail.content) for mail in first("7", modes=(Mode.BDAT, Mode.BMTD)))


@pytest.mark.parametrize("size", [0, 2, *range(70, 110), 4096, 65535, 65537])
def test_lines_end_with_crlf_and_nothing_else(size):
    for mail in first("7", 20, modes=(Mode.DATA,), sizes={size: 1}):
        assert len(mail.content) == size
        assert mail.content.count(b"\r") == mail.content.count(b"\n") == mail.content.count(b"\r\n")
        assert mail.content.endswith(b"\r\n" if size else b"")
