"""Opening, TLS, AUTH and the end of a session, against our own server engine and against what other servers say."""

import time

import pytest

from gateway.smtp import LMTP, SMTP, CredentialsReceived, Reply
from gateway.smtp.client import ClientConnection
from gateway.smtp.client_events import Concluded, MailConcluded, ReplyReceived
from gateway.smtp.outgoing import LocalProtocolError, NotOffered
from tests.smtp.client.conversation import OK, Conversation, at_random_splits, mail, octet_by_octet, whole

SECONDS = 5
SPLITS = [whole, octet_by_octet, at_random_splits]


def connect(dialect=SMTP, *replies):
    """A client to which a server has said `replies`, one at a time."""
    client = ClientConnection(dialect, hello_name="client.example.net")
    for reply in replies:
        client.data_to_send()
        client.receive_data(reply)
    return client


def conclusion(client):
    while isinstance(event := client.next_event(), ReplyReceived):
        pass
    return event


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize(("dialect", "hello"), [("smtp", "EHLO"), ("lmtp", "LHLO")])
def test_a_session_opens_with_the_greeting_and_the_hello(dialect, hello, split):
    talk = Conversation(dialect, split=split)
    assert talk.conclude().reply.code == 250
    assert talk.replies == [("connect", 220), (f"{hello} client.example.net", 250)]
    assert talk.client.capabilities["SIZE"] == ("1000000",)
    assert talk.client.capabilities["METADATA"] == ()


def test_nothing_is_said_before_the_greeting():
    assert ClientConnection(SMTP, hello_name="client.example.net").data_to_send() == b""


@pytest.mark.parametrize("code", [b"500", b"502"])
def test_a_server_without_extensions_is_greeted_with_helo(code):
    client = connect(SMTP, b"220 old\r\n", code + b" what?\r\n")
    assert client.data_to_send() == b"HELO client.example.net\r\n"
    client.receive_data(b"250 old\r\n")
    assert conclusion(client).reply.code == 250
    assert client.capabilities == {}


def test_lmtp_has_no_other_hello():
    client = connect(LMTP, b"220 hi\r\n", b"500 what?\r\n")
    assert client.data_to_send() == b""
    assert conclusion(client).reply.code == 500


@pytest.mark.parametrize("replies", [[b"554 go away\r\n"], [b"220 hi\r\n", b"550 go away\r\n"]])
def test_a_refused_session_is_concluded_with_the_refusal(replies):
    client = connect(SMTP, *replies)
    assert client.data_to_send() == b""
    assert conclusion(client).reply.lines == ("go away",)


def test_keywords_are_read_without_regard_to_case():
    client = connect(
        SMTP,
        b"220 hi\r\n",
        b"250-mx greets\r\n250-\r\n250-size 1000\r\n250-Auth plain LOGIN\r\n250 pipelining\r\n",
    )
    assert client.capabilities == {"SIZE": ("1000",), "AUTH": ("plain", "LOGIN"), "PIPELINING": ()}


@pytest.mark.parametrize("name", ["", "two words", "a\r\nMAIL FROM:<>", "müller.example"])
def test_a_hello_name_that_is_none_is_refused(name):
    with pytest.raises(LocalProtocolError, match="printable ASCII"):
        ClientConnection(SMTP, hello_name=name)


# TLS


@pytest.mark.parametrize("split", SPLITS)
def test_what_was_offered_in_clear_is_forgotten_after_tls(split):
    talk = Conversation(starttls=True, authentication=True, split=split).open()
    assert "STARTTLS" in talk.client.capabilities
    assert "AUTH" not in talk.client.capabilities
    talk.client.start_tls()
    assert talk.conclude().reply.code == 220
    talk.server.tls_established()
    talk.client.tls_established()
    assert talk.client.capabilities == {}
    assert talk.conclude().reply.code == 250
    assert "STARTTLS" not in talk.client.capabilities
    assert "AUTH" in talk.client.capabilities


@pytest.mark.parametrize("injected", [b"250 EHLO answered\r\n", b"250 not even a whole li"])
@pytest.mark.parametrize("together", [True, False])
def test_octets_before_the_handshake_end_the_session(injected, together):
    """RFC 3207 §6: they may be an attacker's, who wants them to be taken for the server's own under TLS."""
    client = connect(SMTP, b"220 hi\r\n", b"250-mx\r\n250 STARTTLS\r\n")
    conclusion(client)
    client.start_tls()
    client.data_to_send()
    if together:
        client.receive_data(b"220 go\r\n" + injected)
    else:
        client.receive_data(b"220 go\r\n")
        client.receive_data(injected)
    assert conclusion(client).reply.code == 220
    client.tls_established()
    assert conclusion(client).reply.code == 451
    assert not client.is_open
    assert client.data_to_send() == b""


def test_tls_that_is_not_offered_is_not_asked_for():
    talk = Conversation().open()
    with pytest.raises(NotOffered, match="the server does not offer STARTTLS"):
        talk.client.start_tls()
    assert talk.client.data_to_send() == b""


# AUTH


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
@pytest.mark.parametrize("reply", [Reply.of(235, "2.7.0", "hello"), Reply.of(535, "5.7.8", "no")])
def test_a_client_logs_in(mechanism, reply, split):
    given = []

    def answer(event):
        given.append(event)
        return reply

    talk = Conversation(authentication=True, authentication_without_tls=True, answer=answer, split=split).open()
    talk.client.capabilities = {**talk.client.capabilities, "AUTH": (mechanism,)}
    talk.client.authenticate("müller", "pass word")
    assert talk.conclude() == Concluded(reply)
    assert given == [
        CredentialsReceived(mechanism=mechanism, login="müller".encode(), password=b"pass word"),
    ]


@pytest.mark.parametrize("mechanisms", [("PLAIN",), ("LOGIN",)])
def test_events_do_not_hold_the_password(mechanisms):
    talk = Conversation(authentication=True, authentication_without_tls=True).open()
    talk.client.capabilities = {"AUTH": mechanisms}
    talk.client.authenticate("user", "pass")
    talk.conclude()
    assert {command for command, _ in talk.replies[2:]} <= {
        "AUTH PLAIN",
        "AUTH LOGIN",
        "AUTH LOGIN (login)",
        "AUTH LOGIN (password)",
    }


@pytest.mark.parametrize("answers", [[b"535 5.7.8 no\r\n"], [b"334 VXNlcm5hbWU6\r\n", b"535 5.7.8 no\r\n"]])
def test_a_login_that_is_refused_half_way_is_concluded(answers):
    client = connect(SMTP, b"220 hi\r\n", b"250-mx\r\n250 AUTH LOGIN\r\n")
    conclusion(client)
    client.authenticate("user", "pass")
    for answer in answers:
        client.receive_data(answer)
    assert conclusion(client).reply.code == 535


@pytest.mark.parametrize("offered", [{}, {"AUTH": ("CRAM-MD5",)}])
def test_a_login_that_cannot_be_sent_is_refused(offered):
    talk = Conversation().open()
    talk.client.capabilities = offered
    with pytest.raises(NotOffered, match="AUTH by PLAIN or LOGIN"):
        talk.client.authenticate("user", "pass")


def test_a_nul_would_shift_the_fields_of_plain():
    talk = Conversation(authentication=True, authentication_without_tls=True).open()
    with pytest.raises(LocalProtocolError, match="NUL"):
        talk.client.authenticate("user\0admin", "pass")


# Order, and servers that go away or make no sense


def test_a_session_ends_with_quit():
    talk = Conversation().open()
    talk.client.quit()
    assert talk.conclude().reply.code == 221


def test_a_connection_does_one_thing_at_a_time():
    client = ClientConnection(SMTP, hello_name="client.example.net")
    with pytest.raises(LocalProtocolError, match="one thing at a time"):
        client.quit()


def test_a_connection_lost_before_the_greeting_is_a_451():
    client = connect()
    client.end("the server closed the connection")
    assert conclusion(client) == Concluded(Reply.of(451, "4.4.2", "the server closed the connection"))


def test_what_is_asked_of_a_lost_connection_ends_with_a_451():
    talk = Conversation().open()
    talk.client.end("the server closed the connection")
    assert not talk.client.is_open
    talk.client.send(mail(containers=((1, b"$x"),)))
    (outcome,) = conclusion(talk.client).outcomes
    assert str(outcome.reply) == "451 4.4.2 the server closed the connection"
    talk.client.quit()
    assert conclusion(talk.client).reply.code == 451
    assert talk.client.data_to_send() == b""


@pytest.mark.parametrize(
    "octets",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x00\x00\x00\n",
        b"999 what\r\n",
        b"220-hi\r\n250 there\r\n",
        b"220 " + b"x" * 70_000,
        b"354 send it\r\n",
    ],
)
def test_a_server_that_does_not_speak_smtp_ends_the_session(octets):
    client = connect(SMTP, octets)
    assert conclusion(client).reply.status.class_ == 4
    assert not client.is_open


@pytest.mark.parametrize("split", [octet_by_octet, lambda octets: octets.splitlines(keepends=True)])
def test_a_long_reply_that_comes_in_small_pieces_is_no_great_work(split):
    """A hostile server could keep the gateway from everything else with it."""
    client = connect()
    begun = time.process_time()
    for octets in split(b"220-x\r\n" * 9_000 + b"220 " + b"x" * 2_000):
        client.receive_data(octets)
    assert time.process_time() - begun < SECONDS
    assert client.next_event() is None
    client.receive_data(b"\r\n")
    assert client.next_event().reply.code == 220


def test_a_server_that_shuts_down_while_nothing_was_asked_is_quoted():
    talk = Conversation().open()
    talk.client.receive_data(b"421 4.3.2 shutting down\r\n")
    talk.client.receive_data(b"more\r\n")
    talk.client.send(mail())
    concluded = conclusion(talk.client)
    assert isinstance(concluded, MailConcluded)
    assert concluded.outcomes[0].reply.lines == ("the server said, without being asked: 421 4.3.2 shutting down",)


def test_the_reply_of_a_lost_session_is_not_shown_as_the_servers():
    talk = Conversation(answer=lambda event: OK).open()
    talk.client.quit()
    talk.client.end("lost")
    assert isinstance(talk.client.next_event(), Concluded)
