import time

import pytest

from gateway.envelope import without_own_results

OWN = "mx.example.org"


def kept(data):
    return without_own_results([(0, data)], OWN)


@pytest.mark.parametrize(
    "value",
    [
        b" mx.example.org; spf=pass",
        b"mx.example.org;spf=pass",
        b" MX.Example.ORG; spf=pass",
        b" mx.example.org 1; spf=pass",
        b" mx.example.org(comment); spf=pass",
        b" mx.example.org",
        b"\r\n\tmx.example.org;\r\n\tspf=pass",
        b' "mx.example.org"; spf=pass',
        b' "mx\\.example.org"; spf=pass',
        b" (a comment (in a comment) \\) and more) mx.example.org; spf=pass",
        b" (one)(two)\r\n (three) mx.example.org; none",
    ],
)
def test_a_field_that_claims_to_be_ours_is_removed(value):
    assert kept(b"Received: x\r\nAuthentication-Results:" + value + b"\r\nX: y\r\n") == (
        (0, b"Received: x\r\nX: y\r\n"),
    )


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b" ; spf=pass",
        b" (never closed mx.example.org; spf=pass",
        b' "never closed',
        b' ""; spf=pass',
        b" (" + b"x" * 1100 + b") mx.example.org; spf=pass",
        b" (" + b"x" * 985 + b") mx.example.org; spf=pass",
    ],
)
def test_a_field_whose_identifier_cannot_be_read_is_removed(value):
    assert kept(b"Authentication-Results:" + value + b"\r\nX: y\r\n") == ((0, b"X: y\r\n"),)


@pytest.mark.parametrize(
    "field",
    [
        b"Authentication-Results: other.example; spf=pass",
        b"Authentication-Results: mx.example.org.evil.example; spf=pass",
        b"Authentication-Results: notmx.example.org; spf=pass",
        b"Authentication-Results: (mx.example.org) other.example; spf=pass",
        b"ARC-Authentication-Results: i=1; mx.example.org; spf=pass",
        b"X-Authentication-Results: mx.example.org; spf=pass",
        b"Received: Authentication-Results: mx.example.org",
    ],
)
def test_all_other_fields_stay_as_they_are(field):
    for end in (b"", b"\r\n"):
        assert kept(field + end) == ((0, field + end),)


def test_the_name_may_be_in_any_case():
    assert kept(b"AUTHENTICATION-results: mx.example.org; none\r\nX: y") == ((0, b"X: y"),)


def test_a_container_that_had_nothing_else_is_left_out():
    assert kept(b"Authentication-Results: mx.example.org; none\r\n" * 2) == ()


def test_a_container_that_came_empty_stays():
    assert kept(b"") == ((0, b""),)


def test_containers_of_other_types_are_opaque():
    received = ((1, b"$Ok"), (7, b"Authentication-Results: mx.example.org; none\r\n"))
    assert without_own_results(received, OWN) == received


def test_a_hostile_container_takes_linear_time():
    data = (b"Authentication-Results: " + b"(" * 2000 + b"\r\n") * 500
    start = time.process_time()
    assert kept(data) == ()
    assert time.process_time() - start < 2
