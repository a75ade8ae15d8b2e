import tomllib
from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.lines import key_lines, line_of


def lines(document):
    return key_lines(dedent(document))


def test_each_key_is_on_its_line():
    found = lines(
        """\
        # a comment with [brackets] and a = sign
        first = 1

        [table]
        second = "two" # [not.a.table]
        """
    )
    assert found == {("first",): 2, ("table",): 4, ("table", "second"): 5}


def test_an_array_of_tables_counts_its_tables():
    found = lines(
        """\
        [[listener]]
        name = "a"
        [listener.tls]
        mode = "implicit"
        [[listener]]
        name = "b"
        [listener.tls]
        mode = "starttls"
        """
    )
    assert found[("listener", 0, "tls", "mode")] == 4
    assert found[("listener", 1)] == 5
    assert found[("listener", 1, "name")] == 6
    assert found[("listener", 1, "tls", "mode")] == 8


def test_arrays_of_tables_nest():
    found = lines(
        """\
        [[a]]
        [[a.b]]
        x = 1
        [[a.b]]
        x = 2
        [[a]]
        [[a.b]]
        x = 3
        """
    )
    assert [found["a", i, "b", j, "x"] for i, j in ((0, 0), (0, 1), (1, 0))] == [3, 5, 8]


def test_dotted_and_quoted_keys_lead_to_their_tables():
    found = lines(
        """\
        a . "b.c".'d' = 1
        "\\u0061bc" = 2
        [ "x" . y ]
        z = 3
        """
    )
    assert found["a", "b.c", "d"] == 1
    assert found[("abc",)] == 2
    assert found["x", "y", "z"] == 4


def test_elements_of_an_array_over_several_lines_have_lines_of_their_own():
    found = lines(
        """\
        recipients = [ # first
            "a", '#b',
            [1,
             2],
            {c = 1, d.e = "}"},
        ]
        after = 1979-05-27 07:32:00
        """
    )
    assert [found["recipients", i] for i in range(4)] == [2, 2, 3, 5]
    assert found["recipients", 2, 1] == 4
    assert found["recipients", 3, "d", "e"] == 5
    assert found[("after",)] == 7


@pytest.mark.parametrize(
    "value",
    [
        '"""\n[[no]]\nx = "y"\n"""',
        "'''\n[[no]]\nit''s'''",
        '"""ends in two quotes"""""',
        '"""a \\""" b\n"""',
        "''''quoted'''''",
        '""',
        '"a \\" = ["',
        "'\\'",
        '""""""',
        "1979-05-27T07:32:00Z",
        "[[], [{}], []]",
        "{ }",
    ],
)
def test_what_stands_in_a_value_is_no_key(value):
    document = f"before = 0\nvalue = {value}\nafter = 1\n"
    tomllib.loads(document)
    found = {path[0] for path in key_lines(document)}
    assert found == {"before", "value", "after"}
    assert key_lines(document)[("after",)] == value.count("\n") + 3


def test_a_table_stands_where_its_own_header_is():
    found = lines(
        """\
        [a.b]
        [a]
        """
    )
    assert found == {("a",): 2, ("a", "b"): 1}


def test_lines_may_end_in_crlf():
    assert key_lines("a = 1\r\n[b]\r\nc = [\r\n2]\r\n") == {
        ("a",): 1,
        ("b",): 2,
        ("b", "c"): 3,
        ("b", "c", 0): 4,
    }


def test_what_is_missing_has_the_line_of_its_table():
    found = lines(
        """\

        [[listener]]
        name = "a"
        """
    )
    assert line_of(("listener", 0, "bind"), found) == 2
    assert line_of(("listener", 0, "name"), found) == 3
    assert line_of(("route",), found) == 0


KEYS = st.sampled_from(["a", "b-1", '"c d"', "'e.f'", '"\\u00e9#"'])
SCALARS = st.sampled_from(
    ["1", "-2.5", "true", '"s # ]"', "'l }'", '"""m\n[x]\n"""', "'''n\n= '''", "2024-01-01 10:00:00"]
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda values: "[\n" + "".join(f"  {value}, # c\n" for value in values) + "]")
        | st.lists(inner.filter(lambda value: "\n" not in value), max_size=1).map(
            lambda values: "{" + ", ".join(f"k{i}.l = {value}" for i, value in enumerate(values)) + "}"
        )
    ),
    max_leaves=5,
)
PAIRS = st.dictionaries(KEYS, VALUES, max_size=4)
TABLES = st.lists(st.tuples(st.sampled_from(["[[t]]", "[[t.u]]", "[t.v.w]", "[[ x . 'y' ]]"]), PAIRS), max_size=6)


def paths(value, path=()):
    """Every key path of a parsed document."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from paths(inner, (*path, key))


@given(PAIRS, TABLES)
def test_every_path_that_tomllib_finds_has_a_line_and_no_other_has(pairs, tables):
    document = "".join(f"{key} = {value}\n" for key, value in pairs.items())
    for header, content in tables:
        document += f"{header}\n" + "".join(f"{key} = {value}\n" for key, value in content.items())
    try:
        parsed = tomllib.loads(document)
    except tomllib.TOMLDecodeError:
        return
    assert set(key_lines(document)) == set(paths(parsed))
