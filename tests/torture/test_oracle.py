"""The oracle sees each kind of fault, and takes nothing else for one."""

import dataclasses

import pytest
from msgspec import structs

from tests.torture.journal import Attempt, Delivered, Ending, Journal, Outcome, Record, metadata_digest, read
from tests.torture.oracle import Route, judge

ID = "01KAYZ0000000000000000000A"
OTHER_ID = "01KAYZ0000000000000000000B"
TO = "ann@example.org"
ROUTES = {"example.org": Route(("archive",), "spooled")}

SENT = Attempt(marker="m", mode="data", recipients=(TO,), size=4, sha256="a", metadata_sha256="b")
ACKED = Record(SENT, (Outcome(Ending.ACKED, 250, ID),))
REFUSED = Record(SENT, (Outcome(Ending.REJECTED, 451),))
UNKNOWN = Record(SENT, (Outcome(Ending.UNKNOWN),))
UNFINISHED = Record(SENT, (Outcome(Ending.UNFINISHED),))
STORED = Delivered(marker="m", mail_id=ID, sha256="a", recipients=(TO,), metadata_sha256="b", at=100.0)

FAULTS = ("lost", "corrupt", "ghosts", "refused", "renamed", "unexplained_duplicates", "leftovers")


def faults_of(verdict):
    found = dataclasses.asdict(verdict)
    return {name: len(found[name]) for name in FAULTS if found[name]}


def found(record, *delivered, routes=ROUTES, **circumstances):
    """The faults, as their names and how many of each there are."""
    verdict = judge([record], {"archive": delivered}, routes, **circumstances)
    assert verdict.is_clean == (not faults_of(verdict))
    return faults_of(verdict)


@pytest.mark.parametrize(
    ("record", "delivered"),
    [
        (ACKED, [STORED]),
        (REFUSED, []),
        (UNKNOWN, []),
        (UNKNOWN, [STORED]),
        (UNFINISHED, []),
    ],
    ids=["acked and there", "refused and not there", "unknown, not there", "unknown and there", "never sent"],
)
def test_what_is_as_it_was_told_is_clean(record, delivered):
    assert found(record, *delivered) == {}


def test_an_acknowledged_mail_that_is_not_there_is_lost():
    assert found(ACKED) == {"lost": 1}


def test_a_dead_letter_is_not_lost():
    assert found(ACKED, dead={(ID, "archive")}) == {}
    assert found(ACKED, dead={(ID, "elsewhere")}) == {"lost": 1}


def test_a_mail_is_lost_to_a_recipient_that_it_does_not_name():
    both = Record(structs.replace(SENT, recipients=(TO, "bob@example.org")), ACKED.outcomes * 2)
    assert found(both, STORED) == {"lost": 1}


def test_a_mail_is_lost_to_one_of_its_sinks():
    routes = {"example.org": Route(("archive", "consumer"), "spooled")}
    verdict = judge([ACKED], {"archive": [STORED], "consumer": []}, routes)
    assert faults_of(verdict) == {"lost": 1}


@pytest.mark.parametrize("changed", [{"sha256": "x"}, {"metadata_sha256": ""}], ids=["content", "metadata"])
def test_other_octets_are_corrupt(changed):
    assert found(ACKED, structs.replace(STORED, **changed)) == {"corrupt": 1}


def test_a_mail_that_nobody_sent_is_a_ghost():
    assert found(ACKED, STORED, structs.replace(STORED, marker="other")) == {"ghosts": 1}


def test_a_mail_that_was_never_sent_whole_is_a_ghost():
    assert found(UNFINISHED, STORED) == {"ghosts": 1}


def test_a_recipient_that_was_not_named_is_a_ghost():
    assert found(ACKED, structs.replace(STORED, recipients=(TO, "eve@example.org"))) == {"ghosts": 1}


def test_a_mail_at_a_sink_of_another_route_is_a_ghost():
    verdict = judge([ACKED], {"archive": [STORED], "elsewhere": [STORED]}, ROUTES)
    assert faults_of(verdict) == {"ghosts": 1}


def test_a_refused_mail_that_is_there_is_seen():
    assert found(REFUSED, STORED) == {"refused": 1}


def test_an_lmtp_client_is_held_to_the_reply_for_each_recipient():
    """RFC 2033 §4.2: one may be refused and the other accepted."""
    attempt = structs.replace(SENT, mode="lmtp-data", recipients=(TO, "bob@example.org"))
    mixed = Record(attempt, (ACKED.outcomes[0], REFUSED.outcomes[0]))
    assert found(mixed, STORED) == {}
    assert found(mixed, structs.replace(STORED, recipients=attempt.recipients)) == {"refused": 1}


def test_a_refusal_of_several_sinks_says_nothing_of_each_unless_the_mail_was_spooled():
    for accept, expected in (("delivered", {}), ("spooled", {"refused": 1})):
        routes = {"example.org": Route(("archive", "consumer"), accept)}
        assert faults_of(judge([REFUSED], {"archive": [STORED], "consumer": []}, routes)) == expected


def test_an_id_never_changes():
    assert found(ACKED, structs.replace(STORED, mail_id=OTHER_ID)) == {"renamed": 1}
    twice = (STORED, structs.replace(STORED, mail_id=OTHER_ID, at=102.0))
    assert found(UNKNOWN, *twice, faults=[101.0]) == {"renamed": 1}


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (101.0, {}),
        (99.8, {}),
        (90.0, {"unexplained_duplicates": 1}),
        (102.1, {"unexplained_duplicates": 1}),
        (None, {"unexplained_duplicates": 1}),
    ],
    ids=["in flight", "noted a little late", "before both", "long after it was settled", "no fault"],
)
def test_a_duplicate_is_explained_by_a_fault_while_it_was_in_flight(fault, expected):
    later = structs.replace(STORED, at=130.0)
    verdict = judge([ACKED], {"archive": [STORED, later]}, ROUTES, faults=[] if fault is None else [fault])
    assert (faults_of(verdict), verdict.duplicates) == (expected, 1)


def test_a_fault_after_both_explains_no_duplicate():
    assert found(ACKED, STORED, structs.replace(STORED, at=100.1), faults=[105.0]) == {"unexplained_duplicates": 1}


@pytest.mark.parametrize(
    ("held_up", "expected"),
    [
        ([(100.5, 102.5)], {}),
        ([(98.0, 100.5), (101.0, 103.0)], {}),
        ([(98.0, 100.5), (104.0, 109.0)], {"unexplained_duplicates": 1}),
    ],
    ids=["between", "in part", "at another time"],
)
def test_time_in_which_nothing_could_be_settled_does_not_count(held_up, expected):
    later = structs.replace(STORED, at=130.0)
    assert found(ACKED, STORED, later, faults=[104.0], held_up=held_up) == expected
    assert found(ACKED, STORED, later, held_up=held_up) == {"unexplained_duplicates": 1}


def test_more_duplicates_than_attempts_can_be_under_way_are_not_explained():
    records = [Record(structs.replace(SENT, marker=marker), ACKED.outcomes) for marker in "abc"]
    deliveries = [structs.replace(STORED, marker=marker, at=at) for marker in "abc" for at in (100.0, 102.0)]
    for at_each, expected in ((3, {}), (2, {"unexplained_duplicates": 1})):
        # A fault at another time does not explain the third.
        verdict = judge(records, {"archive": deliveries}, ROUTES, faults=[101.0, 150.0], at_each=at_each)
        assert faults_of(verdict) == expected


def test_no_fault_explains_a_duplicate_of_what_is_not_spooled():
    routes = {"example.org": Route(("archive",), "delivered")}
    twice = (STORED, structs.replace(STORED, at=102.0))
    assert found(ACKED, *twice, routes=routes, faults=[101.0]) == {"unexplained_duplicates": 1}


def test_each_further_duplicate_wants_a_fault_of_its_own():
    three = [structs.replace(STORED, at=at) for at in (100.0, 102.0, 104.0)]
    assert found(ACKED, *three, faults=[101.0]) == {"unexplained_duplicates": 1}
    assert found(ACKED, *three, faults=[101.0, 103.0]) == {}


def test_what_is_left_over_is_a_fault():
    assert found(ACKED, STORED, leftovers=["a file"]) == {"leftovers": 1}


def test_the_verdict_says_what_is_wrong():
    said = str(judge([ACKED], {"archive": []}, ROUTES))
    assert "1 attempted, 1 acked" in said
    assert f"archive lacks {ID} to {TO} (m, data, 4 octets)" in said


def test_the_journal_gives_back_what_was_written(tmp_path):
    path = tmp_path / "journal"
    with Journal(path) as journal:
        journal.attempted(SENT)
        journal.attempted(structs.replace(SENT, marker="n"))
        journal.concluded("m", ACKED.outcomes)
    # The second was never concluded: its client is gone.
    assert read(path) == [ACKED, Record(structs.replace(SENT, marker="n"), UNKNOWN.outcomes)]


def test_containers_differ_by_order_and_border():
    assert metadata_digest([]) == ""
    assert metadata_digest([b"ab", b"c"]) != metadata_digest([b"a", b"bc"])
    assert metadata_digest([b"a", b"b"]) != metadata_digest([b"b", b"a"])
