"""Mail is refused at MAIL while there is no room for it, is taken again when there is, and the log says both once."""

import errno
import os
from types import SimpleNamespace

import pytest
import structlog

from gateway.ingress import admission
from gateway.ingress.admission import Admission, Room
from gateway.ingress.content_builder import MEMORY_OCTETS
from gateway.smtp import Limits, Reply
from tests.ingress.gateway import ENVELOPE, HELLO, gateway, settings

MEBIBYTE = 1024 * 1024
MAIL = b"MAIL FROM:<s@example.net>%b\r\n"
SMALL = b"BDAT 7 LAST\r\nhello\r\n"


class Disk:
    """A file system as statvfs(2) tells of it: 1,000 MiB and as many inodes, all of them free."""

    def __init__(self):
        self.free = self.inodes = 1000
        self.all_inodes = 1000
        self.flags = 0
        self.error = None
        self.looks = 0
        self.now = 1000.0

    def statvfs(self, _path):
        self.looks += 1
        if self.error is not None:
            raise OSError(self.error, os.strerror(self.error))
        return SimpleNamespace(
            f_frsize=MEBIBYTE,
            f_blocks=1000,
            f_bavail=self.free,
            f_files=self.all_inodes,
            f_favail=self.inodes,
            f_flag=self.flags,
        )


@pytest.fixture
def disk(monkeypatch):
    disk = Disk()
    monkeypatch.setattr(os, "statvfs", disk.statvfs)
    monkeypatch.setattr(admission, "monotonic", lambda: disk.now)
    return disk


@pytest.fixture
def told():
    with structlog.testing.capture_logs() as lines:
        yield lines


def admitting(tmp_path, *, percent=10.0, largest=10 * MEBIBYTE):
    return Admission(tmp_path, largest_message=largest, min_free_percent=percent)


def reply_to(admission, disk, size=0):
    """What MAIL gets a second later; the empty text where there is room."""
    disk.now += 1
    answer = admission.admit(size)
    if isinstance(answer, Room):
        answer.release()
        return ""
    return str(answer)


FULL = "452 4.3.1 not enough storage, try again later"


@pytest.mark.parametrize(("free", "percent", "expected"), [(100, 10, ""), (99, 10, FULL), (15, 0, ""), (14, 0, FULL)])
def test_free_space_has_a_floor_of_a_share_and_of_one_and_a_half_of_the_largest_message(
    tmp_path, disk, free, percent, expected
):
    disk.free = free
    assert reply_to(admitting(tmp_path, percent=percent), disk) == expected


@pytest.mark.parametrize(("inodes", "percent", "expected"), [(100, 10, ""), (99, 10, FULL), (1, 0, ""), (0, 0, FULL)])
def test_free_inodes_have_the_same_floor(tmp_path, disk, inodes, percent, expected):
    disk.inodes = inodes
    assert reply_to(admitting(tmp_path, percent=percent), disk) == expected


def test_a_file_system_that_counts_no_inodes_has_enough(tmp_path, disk):
    disk.inodes = disk.all_inodes = 0
    assert reply_to(admitting(tmp_path), disk) == ""


def test_a_file_system_that_has_become_read_only_takes_no_mail(tmp_path, disk):
    disk.flags = os.ST_RDONLY
    assert reply_to(admitting(tmp_path), disk) == FULL


def test_mails_under_way_have_the_space_that_they_declared(tmp_path, disk):
    admission = admitting(tmp_path)
    disk.free = 120
    rooms = [admission.admit(10 * MEBIBYTE) for _ in range(3)]
    assert all(isinstance(room, Room) for room in rooms)
    assert reply_to(admission, disk) == FULL
    rooms[0].release()
    assert reply_to(admission, disk) == ""


def test_processes_that_take_mail_beside_each_other_have_equal_shares_of_the_space_above_the_floor(tmp_path, disk):
    admission = Admission(tmp_path, largest_message=10 * MEBIBYTE, min_free_percent=10, sharers=2)
    disk.free = 140
    rooms = [admission.admit(10 * MEBIBYTE) for _ in range(3)]
    assert all(isinstance(room, Room) for room in rooms)
    assert reply_to(admission, disk) == FULL
    rooms[0].release()
    assert reply_to(admission, disk) == ""


def test_mails_under_way_that_declared_nothing_have_the_space_of_what_has_come(tmp_path, disk):
    admission = admitting(tmp_path)
    disk.free = 120
    room = admission.admit(0)
    assert room.take_content(20 * MEBIBYTE) is None
    assert reply_to(admission, disk) == ""
    assert room.take_content(1) is None
    assert reply_to(admission, disk) == FULL
    room.release()
    room.release()
    assert reply_to(admission, disk) == ""


def test_what_has_come_of_a_declared_size_is_not_counted_twice(tmp_path, disk):
    admission = admitting(tmp_path)
    disk.free = 120
    room = admission.admit(20 * MEBIBYTE)
    room.take_content(15 * MEBIBYTE)
    room.take_metadata(5 * MEBIBYTE)
    assert reply_to(admission, disk) == ""


def test_the_file_system_is_looked_at_once_a_second_at_most(tmp_path, disk):
    admission = admitting(tmp_path)
    for _ in range(1000):
        admission.admit(0).release()
        disk.now += 0.0015
    assert disk.looks == 2


def test_refusing_and_accepting_again_are_told_once_each(tmp_path, disk, told):
    admission = admitting(tmp_path)
    for free in (500, 50, 50, 50, 500, 500, 500):
        disk.free = free
        for _ in range(10):
            reply_to(admission, disk)
    assert [(line["event"], line["log_level"]) for line in told] == [
        ("alarm: mail is refused for now", "error"),
        ("mail is accepted again", "info"),
    ]
    assert told[0]["cause"] == "52428800 octets more must be free, with the 0 of the mail under way"


def test_mails_of_which_only_some_fit_do_not_fill_the_log(tmp_path, disk, told):
    admission = admitting(tmp_path)
    disk.free = 101
    for _ in range(100):
        room = admission.admit(2 * MEBIBYTE)
        assert isinstance(admission.admit(0), Reply)
        room.release()
        disk.now += 0.1
    assert len(told) < 3


def test_a_file_system_that_fails_is_451_and_told_once_until_it_works(tmp_path, disk, told):
    admission = admitting(tmp_path)
    disk.error = errno.EIO
    assert {reply_to(admission, disk) for _ in range(5)} == {"451 4.3.0 local error, try again later"}
    disk.error = None
    assert {reply_to(admission, disk) for _ in range(5)} == {""}
    assert [line["event"] for line in told] == ["alarm: mail is refused for now", "mail is accepted again"]
    assert told[0]["cause"] == "the spool's file system cannot be asked for free space: Input/output error"


def test_memory_has_a_ceiling_that_large_content_does_not_reach(tmp_path, disk):
    admission = admitting(tmp_path, percent=0, largest=1)
    rooms = [admission.admit(0) for _ in range(100)]
    for room in rooms:
        for _ in range(5):
            assert room.take_content(MEBIBYTE) is None
    assert admission._use.in_memory == 100 * MEMORY_OCTETS


def test_metadata_that_passes_the_ceiling_of_memory_is_refused_and_so_is_the_next_mail(tmp_path, disk):
    admission = admitting(tmp_path, percent=0, largest=1)
    first, second = admission.admit(0), admission.admit(0)
    assert first.take_metadata(512 * MEBIBYTE) is None
    too_much = "452 4.3.1 too much mail under way, try again later"
    assert reply_to(admission, disk) == too_much
    assert str(second.take_metadata(1)) == too_much
    first.release()
    assert reply_to(admission, disk) == ""


def test_the_largest_message_that_is_allowed_is_never_too_much_for_memory(tmp_path, disk):
    admission = Admission(tmp_path, largest_message=600 * MEBIBYTE)
    assert admission.admit(600 * MEBIBYTE).take_metadata(600 * MEBIBYTE) is None


def test_other_bounds_hold_at_once(tmp_path, disk):
    admission = admitting(tmp_path)
    disk.free = 50
    assert reply_to(admission, disk) == FULL
    admission.replace(largest_message=MEBIBYTE, min_free_percent=1)
    assert isinstance(admission.admit(0), Room)


# In sessions.


async def test_mail_is_refused_at_mail_and_the_session_goes_on(tmp_path, disk):
    async with gateway(settings(tmp_path)) as running, await running.connect() as client:
        disk.free = 1
        client.send(HELLO, MAIL % b"", b"RCPT TO:<a@example.org>\r\nDATA\r\n")
        assert await client.codes(count=1) == [250]
        assert await client.reply() == [FULL]
        assert await client.codes(count=2) == [503, 503]
        disk.free = 1000
        disk.now += 1
        assert await client.codes(ENVELOPE, SMALL, count=3) == [250] * 3
        assert running.contents == [b"hello\r\n"]


ENDS = {
    "answered": b"RCPT TO:<a@example.org>\r\n" + SMALL,
    "RSET": b"RCPT TO:<a@example.org>\r\nBDAT 7\r\nhello\r\nRSET\r\n",
    "EHLO": HELLO,
    "refused": b"RCPT TO:<a@example.org>\r\nDATA\r\n\r\r\n.\r\n",
    "QUIT": b"RCPT TO:<a@example.org>\r\nBDAT 70\r\nhelloQUIT\r\n",
}


@pytest.mark.parametrize("end", ENDS)
async def test_a_mail_has_its_room_until_it_ends_whichever_way(tmp_path, disk, end):
    async with gateway(settings(tmp_path)) as running, await running.connect() as client:
        client.send(HELLO, MAIL % b" SIZE=9000000")
        assert await client.codes(count=2) == [250, 250]
        use = running.listener._admission._use
        assert use.reserved == 9_000_000
        client.send(ENDS[end])
        if end == "QUIT":
            client.writer.close()
        await running.until(lambda: (use.reserved, use.in_memory) == (0, 0))


async def test_a_delivery_keeps_its_room_until_it_is_answered(tmp_path, disk):
    async with gateway(settings(tmp_path)) as running, await running.connect() as client:
        running.memory.hold()
        client.send(HELLO, ENVELOPE, SMALL)
        await running.memory.entered.acquire()
        use = running.listener._admission._use
        assert (use.reserved, use.in_memory) == (7, 7)
        running.memory.release()
        assert await client.codes(count=4) == [250] * 4
        assert (use.reserved, use.in_memory) == (0, 0)


async def test_metadata_beyond_the_ceiling_of_memory_fails_its_transaction(tmp_path, disk, monkeypatch):
    monkeypatch.setattr(admission, "_MEMORY_OCTETS", 1000)
    container = b"BMTD 502\r\n\x7f\0" + b"x" * 500
    limits = Limits(message_octets=600)
    async with gateway(settings(tmp_path, limits=limits)) as running:
        first, second, third = [await running.connect() for _ in range(3)]
        for client in (first, second):
            assert await client.codes(HELLO, ENVELOPE, container, count=4) == [250] * 4
        # The container is answered before it is counted, but the mail is not accepted.
        assert await third.codes(HELLO, ENVELOPE, container, SMALL, count=5) == [250] * 4 + [452]
        second.send(b"RSET\r\n")
        assert await second.code() == 250
        assert await third.codes(ENVELOPE, SMALL, count=3) == [250] * 3
        assert running.contents == [b"hello\r\n"]


async def test_listeners_of_one_admission_share_its_room(tmp_path, disk):
    shared = Admission(tmp_path, largest_message=10 * MEBIBYTE)
    disk.free = 24
    async with (
        gateway(settings(tmp_path), admission=shared) as one,
        gateway(settings(tmp_path), admission=shared) as other,
        await one.connect() as first,
        await other.connect() as second,
    ):
        assert await first.codes(HELLO, MAIL % b" SIZE=9999999", count=2) == [250, 250]
        assert await second.codes(HELLO, MAIL % b"", count=2) == [250, 452]


async def test_content_that_would_need_a_file_too_many_is_refused_with_an_alarm_and_the_next_one_is_not(tmp_path, told):
    shared = Admission(tmp_path, largest_message=10 * MEBIBYTE, max_files=1)
    async with gateway(settings(tmp_path), admission=shared) as running:
        first, second = [await running.connect() for _ in range(2)]
        for client in (first, second):
            assert await client.codes(HELLO, ENVELOPE, count=3) == [250] * 3
        first.send(b"BDAT 300000\r\n" + bytes(300_000))
        assert await first.code() == 250
        # So many octets do not come at once: the refusal is before the last of them.
        second.send(b"BDAT 2000000 LAST\r\n" + bytes(2_000_000))
        assert await second.code() == 452
        # Small content needs none.
        assert await second.codes(ENVELOPE, SMALL, count=3) == [250] * 3
        first.send(b"BDAT 7 LAST\r\nhello\r\n")
        assert await first.code() == 250
        second.send(ENVELOPE + b"BDAT 2000000 LAST\r\n" + bytes(2_000_000))
        assert [await second.code() for _ in range(3)] == [250] * 3
    assert [line["event"] for line in told if "client" not in line] == [
        "alarm: mail is refused for now",
        "mail is accepted again",
    ]
