"""The short form of the crash points: the spool at every call, the whole gateway at some."""

import random
from collections.abc import Iterator

import pytest

from tests.torture import spool_crashes
from tests.torture.crashpoints import COURSES, Course, calls, come_at_once, crash, disturb
from tests.torture.destinations import KINDS, Destination
from tests.torture.shim import Action
from tests.torture.workload import Mode

# Of the calls of one course: starting makes some, three mails the rest. They are spread over all of them.
_CALLS = {"spooled": 360, "delivered": 120}
_CRASHES = 3
# The same where the destination is no directory, and how many calls apart the disk fails there.
_CALLS_ELSEWHERE = {"spooled": 270, "delivered": 66}
_EVERY_ELSEWHERE = {"spooled": 19, "delivered": 1}
# The servers that the whole run shares.
_FIXTURES = {"s3": "s3_server", "kafka": "kafka"}
# Two files of five calls each, and the directory's sync.
_CALLS_OF_A_MAIL = 11


def _courses(accept: str) -> list[Course]:
    return [course for course in COURSES if course.accept == accept]


@pytest.fixture(scope="module", params=[name for name in KINDS if name != "directory"])
def elsewhere(request) -> Iterator[Destination]:
    """A destination that is not on the disk that fails."""
    kind = KINDS[request.param]
    if fixture := _FIXTURES.get(request.param):
        yield kind.on(request.getfixturevalue(fixture))
    else:
        with kind.start() as server:
            yield kind.on(server)


@pytest.mark.parametrize(
    ("action", "sticky", "every"),
    [
        (Action.KILL, False, 1),
        (Action.TORN, False, 3),
        (Action.IO_ERROR, False, 1),
        (Action.IO_ERROR, True, 5),
        (Action.NO_SPACE, False, 5),
        (Action.NO_SPACE, True, 2),
    ],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_whatever_call_of_the_spool_fails_what_it_acknowledged_is_there_and_nothing_else(action, sticky, every):
    assert spool_crashes.meet_every(action, sticky=sticky, every=every) > 20


def test_recoveries_that_are_killed_one_after_another_come_to_an_end():
    assert spool_crashes.end_every_recovery() > 5


@pytest.mark.parametrize("course", COURSES, ids=str)
def test_a_gateway_that_is_killed_at_any_call_has_lost_nothing_after_its_next_start(course):
    chance = random.Random(str(course))
    for number in range(_CRASHES):
        part = _CALLS[course.accept] // _CRASHES
        at = number * part + chance.randint(1, part)
        assert crash(course, chance.choice((Action.KILL, Action.TORN)), at), f"there is no call {at} any more"


@pytest.mark.parametrize("course", COURSES, ids=str)
@pytest.mark.parametrize(
    ("action", "sticky", "every"),
    # A spool that has met a full disk looks again once a second.
    [(Action.IO_ERROR, False, 7), (Action.NO_SPACE, True, 15)],
    ids=["an error", "a full disk"],
)
def test_a_gateway_whose_disk_fails_says_so_stays_up_and_goes_on_afterwards(course, action, sticky, every):
    size, step = (4096, every) if course.accept == "spooled" else (300_000, 1)
    assert disturb(course, action, sticky=sticky, sizes=(size,), every=step) > every


@pytest.mark.parametrize("accept", _CALLS_ELSEWHERE)
def test_a_gateway_that_is_killed_at_any_call_has_lost_nothing_for_a_destination_elsewhere(elsewhere, accept):
    chance = random.Random(f"{elsewhere.name}, {accept}")
    courses = _courses(accept)
    part = _CALLS_ELSEWHERE[accept] // len(courses)
    for number, course in enumerate(courses):
        at = number * part + chance.randint(1, part)
        action = chance.choice((Action.KILL, Action.TORN))
        assert crash(course, action, at, destination=elsewhere), f"there is no call {at} any more"


@pytest.mark.parametrize("accept", _CALLS_ELSEWHERE)
@pytest.mark.parametrize(
    ("action", "sticky"), [(Action.IO_ERROR, False), (Action.NO_SPACE, True)], ids=["an error", "a full disk"]
)
def test_a_gateway_whose_disk_fails_sends_nothing_twice_to_a_destination_elsewhere(elsewhere, accept, action, sticky):
    course = random.Random(f"{elsewhere.name}, {action}").choice(_courses(accept))
    size, every = (4096 if accept == "spooled" else 300_000), _EVERY_ELSEWHERE[accept]
    assert disturb(course, action, sticky=sticky, destination=elsewhere, sizes=(size,), every=every) > every


@pytest.mark.parametrize("course", COURSES[:2], ids=str)
def test_mails_that_come_at_once_keep_apart(course):
    come_at_once(course, streams=8, mails_each=20)


def test_a_gateway_that_is_killed_at_every_call_of_a_mail_leaves_no_half_of_it():
    course = Course(Mode.DATA, "delivered")
    whole = calls(course, sizes=(10,))
    for at in range(whole - _CALLS_OF_A_MAIL, whole + 1):
        assert crash(course, Action.TORN, at, sizes=(10,))
