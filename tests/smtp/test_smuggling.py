"""SMTP smuggling: nothing but CRLF dot CRLF ends DATA, wherever octets are cut and whether or not they are kept."""

from itertools import combinations

import pytest

from gateway.smtp import Limits, State
from tests.smtp.owner import Owner

# What receivers have taken for the end of DATA, or might.
LOOK_ALIKES = [
    b"\n.\n",
    b"\n.\r\n",
    b"\r\n.\n",
    b"\r\n.\r",
    b"\r.\r",
    b"\r.\r\n",
    b"\r\n\0.\r\n",
    b"\r\n.\0\r\n",
    b"\r.\n",
    b"\n.\r",
    b"\n\n.\n\n",
    b"\n\r.\n\r",
    b"\r\n.\r\r\n",
    b"\r\n.\n\r\n",
    b"\n.\r\r\n",
    b"\r\n .\r\n",
    b"\r\n. \r\n",
    b"\r\n..\r\n",
    b"\r\n..\n",
    b"\n..\r\n",
    b"\r\n.\x1a\r\n",
    b"\x85.\x85",
    b"\r\n\xe2\x80\xa8.\r\n",
    b"\x0b.\x0b",
    b"\x0c\r.\x0c\n",
]
CONTEXTS = {
    "at the start": b"",
    "after the header": b"Subject: x\r\n",
    "in the body": b"Subject: x\r\n\r\nhello",
    "over the size limit": b"x" * 120,
}
SMUGGLED = b"MAIL FROM:<evil@example.net>\r\nRCPT TO:<a@example.org>\r\nDATA\r\nsmuggled"
OPENING = b"EHLO a\r\nMAIL FROM:<s@example.net>\r\nRCPT TO:<a@example.org>\r\nDATA\r\n"
LIMITS = Limits(message_octets=110)


def has_bare_line_end(octets: bytes) -> bool:
    return any(octet in octets.replace(b"\r\n", b"") for octet in b"\r\n")


def converse(*pieces: bytes, dialect: str = "smtp") -> tuple[Owner, bytes]:
    owner = Owner(dialect, limits=LIMITS)
    owner.receive(OPENING.replace(b"EHLO", b"LHLO") if dialect == "lmtp" else OPENING)
    return owner, owner.receive(*pieces)


def check(owner: Owner, output: bytes, expected: bytes) -> None:
    replies = output.split(b"\r\n")
    assert len(replies) == 3, f"more than one reply to the content, and one to QUIT: {output}"
    assert replies[0][:3] in {b"250", b"550", b"552"}
    assert replies[1][:3] == b"221"
    assert [message.content for message in owner.messages] == ([expected] if replies[0][:3] == b"250" else [])


@pytest.mark.parametrize("dialect", ["smtp", "lmtp"])
@pytest.mark.parametrize("context", CONTEXTS)
@pytest.mark.parametrize("look_alike", LOOK_ALIKES)
def test_a_look_alike_is_content_at_every_split(look_alike, context, dialect):
    sent = CONTEXTS[context] + look_alike + SMUGGLED
    expected = ("\r\n" + sent.decode("latin-1")).replace("\r\n.", "\r\n")[2:].encode("latin-1") + b"\r\n"
    stream = sent + b"\r\n.\r\nQUIT\r\n"
    _, whole = converse(stream, dialect=dialect)
    for cut in range(len(stream)):
        owner, output = converse(stream[:cut], stream[cut:], dialect=dialect)
        assert output == whole
        check(owner, output, expected)
    owner, output = converse(*(stream[index : index + 1] for index in range(len(stream))), dialect=dialect)
    assert output == whole
    check(owner, output, expected)


@pytest.mark.parametrize("look_alike", LOOK_ALIKES)
def test_a_look_alike_is_content_at_every_two_cuts_around_it(look_alike):
    start = len(CONTEXTS["in the body"])
    stream = CONTEXTS["in the body"] + look_alike + SMUGGLED + b"\r\n.\r\nQUIT\r\n"
    _, whole = converse(stream)
    for first, second in combinations(range(start - 1, start + len(look_alike) + 2), 2):
        owner, output = converse(stream[:first], stream[first:second], stream[second:])
        assert output == whole
        assert len(owner.messages) <= 1


@pytest.mark.parametrize("context", CONTEXTS)
@pytest.mark.parametrize("look_alike", LOOK_ALIKES)
def test_the_refusal_says_why(look_alike, context):
    _, output = converse(CONTEXTS[context] + look_alike + SMUGGLED[:20] + b"\r\n.\r\n")
    if context == "over the size limit":
        assert output.startswith(b"552 5.3.4")
    elif has_bare_line_end(look_alike):
        assert output.startswith(b"550 5.5.2")
    else:
        assert output.startswith(b"250 2.0.0")


def test_the_true_end_is_found_behind_every_look_alike():
    owner, output = converse(b"".join(LOOK_ALIKES[:6]) + b"\r\n.\r\nRSET\r\n")
    assert output.split(b" ")[0] == b"550"
    assert output.endswith(b"250 2.0.0 OK\r\n")
    assert owner.connection.state is State.READY


@pytest.mark.parametrize("look_alike", list(filter(has_bare_line_end, LOOK_ALIKES)))
def test_a_bare_line_end_in_a_command_ends_the_session_at_every_split(look_alike):
    stream = b"NOOP" + look_alike + b"NOOP\r\nQUIT\r\n"
    whole = converse_commands(stream)
    assert whole.splitlines()[-1].startswith(b"500 5.5.2")
    for cut in range(len(stream)):
        assert converse_commands(stream[:cut], stream[cut:]) == whole
    assert converse_commands(*(stream[index : index + 1] for index in range(len(stream)))) == whole


def converse_commands(*pieces: bytes) -> bytes:
    owner = Owner()
    owner.receive(b"EHLO a\r\n")
    return owner.receive(*pieces)


@pytest.mark.parametrize("injected", [b"N", b"NOOP\r\n", b"MAIL FROM:<evil@example.net>\r\n", b"\r\n", b"\x16\x03\x01"])
def test_octets_behind_starttls_end_the_session(injected):
    """RFC 3207 §6: they came in clear, and would be taken for the client's under TLS."""
    owner = Owner(starttls=True)
    owner.receive(b"EHLO a\r\n")
    output = owner.receive(b"STARTTLS\r\n" + injected)
    assert output.startswith(b"503 5.5.1")
    assert output.count(b"\r\n") == 1
    assert owner.connection.state is State.CLOSED


def test_nothing_said_in_clear_is_known_under_tls():
    owner = Owner(starttls=True)
    owner.receive(b"EHLO evil\r\nMAIL FROM:<evil@example.net>\r\nRSET\r\nBDAT 0\r\nSTARTTLS\r\n")
    owner.connection.tls_established()
    assert owner.connection.state is State.START
    assert owner.connection.hello == ""
    assert owner.receive(b"MAIL FROM:<s@example.net>\r\n").startswith(b"503")
