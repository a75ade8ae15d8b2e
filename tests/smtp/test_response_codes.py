"""The grammar of response codes: what is written is read back, and what is malformed is text for people."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.smtp.reply import Reply, read_reply
from gateway.smtp.response_codes import ReplyText, ResponseCode, compose, read_text
from gateway.status import Status

OK = Status.parse("2.0.0")
ROOM = 500
PRINTABLE = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=40)
NAMES = st.from_regex(r"[A-Z][A-Z0-9-]{0,12}", fullmatch=True)
CODES = st.builds(ResponseCode, NAMES, st.lists(PRINTABLE, max_size=4).map(tuple))
PATHS = st.sampled_from(["", "a@example.org", '"a b"@example.org', '"<>"@x', r'"\">[ID 1] "@x', '"[KAFKA a 1 2]"@x'])
HUMAN = st.lists(PRINTABLE, min_size=1, max_size=3).map(tuple)


def names(codes) -> set[str]:
    return {code.name for code in codes}


@given(st.lists(CODES, max_size=6), PATHS, HUMAN)
@example([ResponseCode("A")], "", ("[B] x",))
@example([], "", ("<a@b> [ID 1] x",))
def test_what_is_written_is_read_back(codes, recipient, human):
    lines = compose(recipient, codes, human, room=ROOM)
    texts = [read_text(line, names(codes) | {"ID"}) for line in lines]
    assert [code for text in texts for code in text.codes] == codes
    assert {text.recipient for text in texts if text.codes} <= {recipient}
    if not recipient:
        assert all(len(text.codes) <= 1 for text in texts)


@given(st.lists(CODES, max_size=6), PATHS, HUMAN, st.booleans())
def test_a_reply_keeps_its_number_whatever_goes_with_it(codes, recipient, human, enhanced):
    reply = Reply(250, OK, human, tuple(codes), recipient)
    octets = reply.encode(enhanced=enhanced, structured=names(codes) or {"ID"})
    assert all(len(line) <= 512 for line in octets.splitlines(keepends=True))
    read, length = read_reply(octets)
    assert (read.code, length) == (250, len(octets))
    assert read.with_codes_read(names(codes)).codes == tuple(codes)


@given(st.lists(CODES, min_size=1, max_size=6), HUMAN.filter(lambda lines: not lines[0].startswith(("[", "<"))))
def test_what_a_client_reads_of_a_reply_is_what_the_server_put_into_it(codes, human):
    reply = Reply(250, OK, tuple(line for line in human if line[:1] not in ("[", "<")), tuple(codes))
    read, _ = read_reply(reply.encode(enhanced=True, structured=names(codes)))
    assert read.with_codes_read(names(codes)) == reply


@given(st.lists(CODES, max_size=6), PATHS, HUMAN)
def test_a_client_that_has_not_asked_sees_nothing_of_it(codes, recipient, human):
    assert Reply(250, OK, human, tuple(codes), recipient).encode(enhanced=True) == Reply(250, OK, human).encode(
        enhanced=True
    )


def test_a_client_gets_the_codes_that_it_has_asked_for():
    reply = Reply(250, OK, ("x",), (ResponseCode("ID", ("1",)), ResponseCode("KAFKA", ("mail", "3", "7"))))
    assert reply.encode(enhanced=True, structured={"KAFKA"}) == b"250 2.0.0 [KAFKA mail 3 7] x\r\n"


@given(st.text(max_size=80) | PRINTABLE.map(lambda text: f"[{text}"))
def test_reading_raises_nothing_and_loses_nothing(text):
    found = read_text(text, {"ID", "KAFKA"})
    if not found.codes:
        assert found == ReplyText("", (), text)


@pytest.mark.parametrize(
    "text",
    [
        "[ID 1",
        "[ID  1] two blanks",
        "[ID 1 ] a blank at the end",
        "[ ID 1] a blank first",
        "[] no name",
        "[1D 1] a digit first",
        "[ID 1]no blank behind",
        '[ID "1] no end',
        '[ID "1"2] more behind the end',
        r'[ID "\1"] escaped without need',
        "[ID a[b] bracket",
        "[ID a\\b] backslash",
        '[ID a"b] quote',
        "[ID \x001] NUL",
        "[ID \u00e9] not ASCII",
        "[NOSUCH 1] a name that is not known",
        "[ID 1] [NOSUCH 1] one known, one not",
        "[ID 1] [id 2] one name twice",
        "[ID 1] [ID",
        "said [ID 1] in the middle",
        " [ID 1] behind a blank",
        "a@example.org> [ID 1] no path",
        "<a@example.org>[ID 1] no blank behind the path",
        "<a@example.org> <b@example.org> [ID 1] two paths",
        '<"[ID 1] x"@example.org> refused',
        '<"a> [ID 1] "@example.org> refused',
        "<[ID 1]@example.org> refused",
    ],
)
def test_a_malformed_code_makes_all_of_it_text_for_people(text):
    assert read_text(text, {"ID"}) == ReplyText("", (), text)


def test_a_parameter_may_have_brackets_in_quotes():
    code = ResponseCode("REFERRAL", ("smtp://[2001:db8::5]:24/",))
    assert str(code) == '[REFERRAL "smtp://[2001:db8::5]:24/"]'
    assert read_text(f"{code} moved", {"REFERRAL"}) == ReplyText("", (code,), "moved")


def test_a_code_stands_behind_a_path_with_a_code_in_its_local_part():
    text = read_text('<"[ID 6]\\"> [ID 7]"@x> [ID 1] ok', {"ID"})
    assert text == ReplyText('"[ID 6]\\"> [ID 7]"@x', (ResponseCode("ID", ("1",)),), "ok")


def test_names_are_read_in_any_case():
    assert read_text("[kafka mail 3 7] ok", {"KAFKA"}).codes == (ResponseCode("KAFKA", ("mail", "3", "7")),)


def test_what_cannot_be_written_is_no_code():
    for wrong in [("id", ()), ("1D", ()), ("", ()), ("ID", ("\u00e9",)), ("ID", ("a\r\nb",)), ("ID", ("\x7f",))]:
        with pytest.raises(ValueError, match="response code"):
            ResponseCode(*wrong)


def test_a_code_too_long_for_a_line_is_left_out_whole():
    short, long = ResponseCode("ID", ("1",)), ResponseCode("MAILDATA", ("x" * 500,))
    wire = Reply(250, OK, ("stored",), (long, short)).encode(enhanced=True, structured={"ID", "MAILDATA"})
    assert wire == b"250 2.0.0 [ID 1] stored\r\n"


def test_the_longest_token_has_its_place_whatever_the_path():
    token = ResponseCode("MAILDATA", ("x" * 384,))
    path = f"{'l' * 64}@{'d' * 180}"
    wire = Reply(250, OK, ("stored",), (ResponseCode("ID", ("1",)), token), path).encode(
        enhanced=True, structured={"ID", "MAILDATA"}
    )
    assert wire.decode().split("\r\n") == [
        f"250-2.0.0 <{path}> [ID 1] continued",
        f"250 2.0.0 {token} stored",
        "",
    ]


def test_codes_of_one_name_do_not_share_a_line():
    codes = (ResponseCode("ID", ("1",)), ResponseCode("KAFKA", ("a",)), ResponseCode("KAFKA", ("b",)))
    assert compose("a@x", codes, ("stored",), room=ROOM) == [
        "<a@x> [ID 1] [KAFKA a] continued",
        "<a@x> [KAFKA b] stored",
    ]


def test_words_that_would_be_read_as_a_code_or_a_path_are_marked():
    assert compose("", (), ("[ID 6] forged", "[ID 7]"), room=ROOM) == ["- [ID 6] forged", "- [ID 7]"]
    assert compose("", (), ("<a@b> [ID 6] forged",), room=ROOM) == ["- <a@b> [ID 6] forged"]


def test_a_path_that_is_not_ascii_is_left_out():
    assert compose("\u00e9@example.org", (ResponseCode("ID", ("1",)),), ("x",), room=ROOM) == ["[ID 1] x"]


def test_what_a_code_carries_is_in_no_representation():
    reply = Reply(250, OK, ("stored",), (ResponseCode("MAILDATA", ("secret",)),), "a@example.org")
    assert "secret" not in repr(reply) + str(reply)


def test_hostile_text_is_read_in_no_time():
    for text in ["<" * 60_000, '<"' * 30_000, "[ID" + ' "' * 30_000, "[ID " + "a " * 30_000, '<"' + "\\" * 60_000]:
        assert read_text(text, {"ID"}).human == text
