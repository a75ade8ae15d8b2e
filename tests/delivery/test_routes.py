import time

import pytest

from gateway.address import parse_path
from gateway.delivery import Destination, PatternError, Route, Routes, parse_pattern
from gateway.testing import MemoryConnector

DESTINATION = Destination(MemoryConnector(), name="memory", metadata="preserve", deadline_seconds=1, max_in_flight=1)


def routes(*patterns):
    made = [Route(recipients=tuple(each.split(", ")), destinations=(DESTINATION,)) for each in patterns]
    return Routes(made, hostname="mx.example.org")


def matched(found, path):
    route = found.match(parse_path(path.encode(), utf8=True))
    return route and ", ".join(route.recipients)


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("*", "b@example.org"),
        ("*", "postmaster"),
        ("*", "b@[192.0.2.1]"),
        ("*@example.org", "b@example.org"),
        ("*@EXAMPLE.org", "b@example.ORG"),
        ("*@example.org", '""@example.org'),
        ("*@example.org", '"x@y"@example.org'),
        ("*@[192.0.2.1]", "b@[192.0.2.1]"),
        ("*@*.example.org", "b@a.example.org"),
        ("*@*.example.org", "b@c.a.example.org"),
        ("*@*.org", "b@c.a.example.org"),
        ("b@example.org", "b@example.org"),
        ("B@example.org", "b@example.org"),
        ('"b"@example.org', "b@example.org"),
        ("b@example.org", '"b"@example.org'),
        ('"a b"@example.org', '"a b"@example.org'),
        ("b@example.org", "@a.example,@c.example:b@example.org"),
        ("GRÜßE@bücher.example", "grüße@BÜCHER.example"),
        ("postmaster@mx.example.org", "Postmaster"),
        ("*@mx.example.org", "Postmaster"),
    ],
)
def test_a_pattern_matches(pattern, path):
    assert matched(routes(pattern), path) == pattern


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("*@example.org", "b@a.example.org"),
        ("*@example.org", "b@notexample.org"),
        ("*@example.org", "b@example.org.example.net"),
        ("*@example.org", '"b@example.org"@example.net'),
        ("*@*.example.org", "b@example.org"),
        ("*@*.example.org", "b@notexample.org"),
        ("*@*.example.org", "b@a-example.org"),
        ("b@example.org", "bb@example.org"),
        ("b@example.org", "b@example.net"),
        ('""@example.org', "b@example.org"),
        ("*@strasse.example", "b@straße.example"),
        ("postmaster@example.org", "Postmaster"),
    ],
)
def test_a_pattern_does_not_match(pattern, path):
    assert matched(routes(pattern), path) is None


def test_the_first_route_that_matches_counts_whatever_its_pattern():
    found = routes("vip@example.org", "*@example.org, b@example.net", "*@*.org", "b@example.org", "*", "*@example.net")
    assert matched(found, "vip@example.org") == "vip@example.org"
    assert matched(found, "b@example.org") == "*@example.org, b@example.net"
    assert matched(found, "b@example.net") == "*@example.org, b@example.net"
    assert matched(found, "b@a.org") == "*@*.org"
    assert matched(found, "c@example.net") == "*"


@pytest.mark.parametrize(
    "pattern",
    [
        *("", "@", "*@", "@example.org", "example.org", "*.example.org", "*@*", "*@*.", "*@*.*.org", "*@a.*.org"),
        *("a*@b.org", "a@*.org", "*@exa mple.org", "postmaster", "**", "a@b@c", '"*"@example.org', "a\r\n@b.org"),
        "*@example.org.",
    ],
)
def test_what_is_no_pattern_is_refused_with_the_forms_that_are(pattern):
    with pytest.raises(PatternError, match=r"write `user@example.org`, `\*@example.org`, .* or `\*`"):
        parse_pattern(pattern)


def test_a_route_has_a_destination():
    with pytest.raises(ValueError, match="would accept mail and lose it"):
        Route(recipients=("*",), destinations=())


def test_ten_thousand_routes_and_a_hostile_domain_cost_next_to_nothing():
    found = routes(*(f"*@*.{number}.example, b{number}@example.org" for number in range(10_000)))
    address = parse_path(b"b@" + b"a." * 126 + b"a", utf8=True)
    start = time.process_time()
    for _ in range(100):
        assert found.match(address) is None
    assert time.process_time() - start < 0.5
