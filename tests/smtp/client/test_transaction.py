"""A mail transaction of the client engine, against the server engine: what arrives, and what each failure leaves."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.smtp import SMTP, MailReceived, RecipientReceived
from gateway.smtp.client import ClientConnection
from gateway.smtp.client_events import ReplyReceived
from gateway.smtp.outgoing import LocalProtocolError, NotOffered, OutgoingRecipient, check_parameter
from tests.smtp.client.conversation import (
    LATER,
    OK,
    UNKNOWN,
    Conversation,
    Octets,
    address,
    at_random_splits,
    mail,
    octet_by_octet,
    whole,
)

SPLITS = [whole, octet_by_octet, at_random_splits]
DIALECTS = ["smtp", "lmtp"]
TRACE = b"Received: from a by b\r\n"
CONTAINERS = ((0, TRACE), (1, b"$Forwarded"), (0x7FFF, b"\0opaque\xff\r\n.\r\n"))


def commands(talk):
    """The verbs that were answered, in order, without the opening."""
    return [command.split(" ")[0] for command, _ in talk.replies[2:]]


# What arrives


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("chunk_octets", [1, 7, 1000])
def test_a_mail_arrives_with_its_metadata(dialect, chunk_octets, split):
    content = b"Subject: x\r\n\r\n.\r\n..\r\nhello"
    talk = Conversation(dialect, split=split).open()
    outgoing = mail(content, to=("b@example.org", "c@example.org"), containers=CONTAINERS, chunk_octets=chunk_octets)
    assert talk.codes(outgoing) == [250, 250]
    (arrived,) = talk.delivered
    assert arrived.content == content
    assert tuple(arrived.containers) == CONTAINERS
    assert [one.address.raw for one in arrived.recipients] == ["b@example.org", "c@example.org"]
    assert sum(arrived.chunks) == len(content)
    assert max(arrived.chunks) <= chunk_octets


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("disabled", [("CHUNKING",), ("CHUNKING", "PIPELINING"), ("CHUNKING", "SIZE", "8BITMIME")])
@pytest.mark.parametrize("content", [b"", b"\r\n", b".\r\n", b"a\r\n.b\r\n..\r\n", b"\r\n.\r\n\r\n.\r\n"])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_server_without_chunking_gets_data(dialect, content, disabled, split):
    talk = Conversation(dialect, disabled=disabled, split=split).open()
    assert talk.codes(mail(content)) == [250]
    assert talk.delivered[0].content == content
    assert talk.delivered[0].chunks == []


@pytest.mark.parametrize(("content", "arrives"), [(b"abc", b"abc\r\n"), (b"a\r\n.", b"a\r\n.\r\n")])
def test_data_completes_the_last_line_and_counts_that(content, arrives):
    talk = Conversation().open()
    assert talk.codes(mail(content, chunked=False)) == [250]
    assert talk.delivered[0].content == arrives
    assert talk.delivered[0].mail.size == len(arrives)


@pytest.mark.parametrize("chunk_octets", [1, 2, 3, 5, 1000])
def test_dots_are_stuffed_wherever_blocks_are_cut(chunk_octets):
    content = b".\r\n.\r\n..a\r\n.b.\r\n\r\n..\r\n"
    for limit in range(1, 12):
        talk = Conversation().open()
        talk.client.data_to_send = lambda send=talk.client.data_to_send, limit=limit: send(limit)
        assert talk.codes(mail(content, chunked=False)) == [250]
        assert talk.delivered[0].content == content


@pytest.mark.parametrize("containers", [(), CONTAINERS])
def test_content_of_no_octets_is_one_last_chunk(containers):
    talk = Conversation().open()
    assert talk.codes(mail(b"", containers=containers)) == [250]
    assert talk.replies[-1] == ("BDAT 0 LAST", 250)
    assert tuple(talk.delivered[0].containers) == containers


def test_metadata_goes_before_content_and_last_stands_on_a_bdat():
    talk = Conversation().open()
    talk.send(mail(b"x" * 10, containers=CONTAINERS, chunk_octets=4))
    assert [command for command, _ in talk.replies[4:]] == [
        f"BMTD {2 + len(TRACE)}",
        "BMTD 12",
        "BMTD 15",
        "BDAT 4",
        "BDAT 4",
        "BDAT 2 LAST",
    ]


def test_the_declared_size_counts_metadata():
    talk = Conversation().open()
    talk.send(mail(b"x" * 10, containers=CONTAINERS))
    assert talk.delivered[0].mail.size == 10 + sum(2 + len(data) for _, data in CONTAINERS)


def test_parameters_arrive_as_they_are():
    talk = Conversation().open()
    recipient = OutgoingRecipient(address("b@example.org"), (("NOTIFY", "SUCCESS,DELAY"), ("ORCPT", "rfc822;c@d")))
    parameters = (("RET", "HDRS"), ("ENVID", "a+20b"), ("SMTPUTF8", ""))
    outgoing = mail(to=[recipient], parameters=parameters, body="8BITMIME", reverse_path=address("ä@example.net"))
    talk.send(outgoing)
    arrived = talk.delivered[0]
    assert arrived.mail.parameters == (*parameters, ("BODY", "8BITMIME"), ("SIZE", str(outgoing.content.size)))
    assert arrived.mail.address == outgoing.reverse_path
    assert arrived.recipients[0].parameters == recipient.parameters


def test_a_parameter_that_nobody_here_knows_is_left_to_the_server():
    talk = Conversation().open()
    assert talk.codes(mail(parameters=(("XWHATEVER", "1"),))) == [555]


def test_binary_content_goes_untouched():
    content = bytes(range(256)) + b"\n\r\n.\r\n\r"
    talk = Conversation().open()
    assert talk.codes(mail(content, body="BINARYMIME")) == [250]
    assert talk.delivered[0].content == content


def test_mails_follow_each_other_in_one_session():
    talk = Conversation().open()
    outgoing = [
        mail(b"one\r\n"),
        mail(b"two\r\n", chunked=False),
        mail(b"three\r\n", to=["no@example.org"]),
        mail(b"4"),
    ]
    talk.answer = lambda event: UNKNOWN if "no@" in str(getattr(event, "address", "")) else OK
    assert [talk.codes(one) for one in outgoing] == [[250], [250], [550], [250]]
    assert [one.content for one in talk.delivered] == [b"one\r\n", b"two\r\n", b"4"]


def test_content_is_read_as_the_transport_takes_it():
    content = Octets(b"x" * 900_000)
    talk = Conversation().open()
    talk.client.data_to_send = lambda send=talk.client.data_to_send: send(1000)
    assert talk.codes(mail(content)) == [250]
    assert content.largest_read <= 1000
    assert max(map(len, talk.writes)) < 1100


# Groups


def test_with_pipelining_a_mail_takes_two_round_trips():
    talk = Conversation().open()
    before = len(talk.writes)
    talk.send(mail(b"x" * 10, to=["b@example.org", "c@example.org"], containers=CONTAINERS, chunk_octets=3))
    assert len(talk.writes) - before == 2
    assert commands(talk) == ["MAIL", "RCPT", "RCPT", "BMTD", "BMTD", "BMTD", "BDAT", "BDAT", "BDAT", "BDAT"]


def test_without_pipelining_every_command_waits():
    talk = Conversation(disabled=["PIPELINING"]).open()
    before = len(talk.writes)
    talk.send(mail(b"x" * 10, to=["b@example.org", "c@example.org"], containers=CONTAINERS, chunk_octets=3))
    assert len(talk.writes) - before == 10


def test_in_lmtp_the_last_chunk_waits_for_the_others():
    """How often the last chunk of a failed transaction is answered, servers do not agree about."""
    talk = Conversation("lmtp").open()
    before = len(talk.writes)
    talk.send(mail(b"x" * 10, to=["b@example.org", "c@example.org"], containers=CONTAINERS, chunk_octets=3))
    assert len(talk.writes) - before == 3
    assert talk.writes[-1] == b"BDAT 1 LAST\r\nx"


def test_in_lmtp_each_final_reply_names_its_recipient():
    talk = Conversation("lmtp").open()
    talk.send(mail(b"x", to=["b@example.org", "c@example.org"]))
    talk.send(mail(b"x\r\n", to=["b@example.org", "c@example.org"], chunked=False))
    finals = ["BDAT 1 LAST for <b@example.org>", "BDAT 1 LAST for <c@example.org>"]
    assert [command for command, _ in talk.replies[5:7]] == finals
    assert [command for command, _ in talk.replies[-2:]] == [". for <b@example.org>", ". for <c@example.org>"]


# Failures of the server, stage by stage


def refusing(stage, reply, recipient=""):
    """An owner who refuses at one stage, for one recipient or for all."""

    def answer(event):
        match event:
            case MailReceived():
                return reply if stage == "MAIL" else OK
            case RecipientReceived():
                return reply if stage == "RCPT" and recipient in event.address.raw else OK
            case (_, for_recipient):
                concerned = for_recipient is None or recipient in for_recipient.address.raw
                return reply if stage == "content" and concerned else OK

    return answer


@pytest.mark.parametrize("pipelining", [True, False])
@pytest.mark.parametrize("chunked", [True, False])
@pytest.mark.parametrize("reply", [UNKNOWN, LATER])
@pytest.mark.parametrize("stage", ["MAIL", "RCPT", "content"])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_refusal_decides_about_every_recipient(dialect, stage, reply, chunked, pipelining):
    disabled = () if pipelining else ("PIPELINING",)
    talk = Conversation(dialect, answer=refusing(stage, reply), disabled=disabled).open()
    outgoing = mail(b"x\r\n", to=["b@example.org", "c@example.org"], chunked=chunked)
    assert talk.codes(outgoing) == [reply.code] * 2
    assert talk.delivered == []
    talk.answer = lambda event: OK
    assert talk.codes(outgoing) == [250, 250]


@pytest.mark.parametrize("pipelining", [True, False])
@pytest.mark.parametrize("chunked", [True, False])
def test_one_refused_recipient_does_not_hinder_the_others(chunked, pipelining):
    disabled = () if pipelining else ("PIPELINING",)
    for dialect in DIALECTS:
        talk = Conversation(dialect, answer=refusing("RCPT", UNKNOWN, "c@"), disabled=disabled).open()
        to = ["b@example.org", "c@example.org", "d@example.org"]
        assert talk.codes(mail(to=to, chunked=chunked)) == [250, 550, 250]
        assert [one.address.raw for one in talk.delivered[0].recipients] == ["b@example.org", "d@example.org"]


@pytest.mark.parametrize("chunked", [True, False])
def test_in_lmtp_each_recipient_has_its_own_outcome(chunked):
    talk = Conversation("lmtp", answer=refusing("content", LATER, "c@")).open()
    to = ["b@example.org", "c@example.org", "c@example.org", "d@example.org"]
    assert talk.codes(mail(to=to, chunked=chunked)) == [250, 451, 451, 250]


@pytest.mark.parametrize("pipelining", [True, False])
@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("recipients", [1, 2])
def test_a_refused_container_fails_the_transaction_and_is_told(dialect, pipelining, recipients):
    disabled = () if pipelining else ("PIPELINING",)
    talk = Conversation(dialect, disabled=disabled).open()
    to = ["b@example.org", "c@example.org"][:recipients]
    broken = ((0, b"Received: x\r\n\r\nbody"), (1, b"$Forwarded"))
    assert talk.codes(mail(to=to, containers=broken)) == [554] * recipients
    assert commands(talk)[-1] == "RSET"
    assert talk.delivered == []
    assert talk.codes(mail(to=to, containers=CONTAINERS)) == [250] * recipients


def test_no_chunk_begins_after_a_refused_one():
    talk = Conversation().open()
    talk.client.data_to_send = lambda send=talk.client.data_to_send: send(100)  # the refusal comes in the middle
    assert talk.codes(mail(b"x" * 10_000, containers=((0, b"no field\r\n"),), chunk_octets=300)) == [554]
    assert commands(talk) == ["MAIL", "RCPT", "BMTD", "BDAT", "RSET"]


def test_without_pipelining_nothing_follows_a_refused_chunk():
    talk = Conversation(disabled=["PIPELINING"]).open()
    assert talk.codes(mail(containers=((0, b"no field\r\n"), (1, b"$x")))) == [554]
    assert commands(talk) == ["MAIL", "RCPT", "BMTD", "RSET"]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_mail_that_is_too_big_is_refused_at_mail(dialect):
    talk = Conversation(dialect, message_octets=100_000).open()
    assert talk.codes(mail(b"x" * 99_999, containers=((1, b"$x"),))) == [552]
    assert commands(talk) == ["MAIL", "RCPT"]


@pytest.mark.parametrize("chunk_octets", [50_000, 1_000_000])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_mail_that_turns_out_too_big_is_refused_in_its_chunks(dialect, chunk_octets):
    talk = Conversation(dialect, message_octets=100_000, disabled=["SIZE"]).open()
    outgoing = mail(b"x" * 120_000, to=["b@example.org", "c@example.org"], chunk_octets=chunk_octets)
    assert talk.codes(outgoing) == [552, 552]
    assert talk.codes(mail()) == [250]


# A connection that is lost, at every stage


LOST = "the server closed the connection"
DIALOGUE = [b"220 hi\r\n", b"250-mx\r\n250-PIPELINING\r\n250-METADATA\r\n250 CHUNKING\r\n"]


@pytest.mark.parametrize("pipelining", [True, False])
@pytest.mark.parametrize("chunked", [True, False])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_connection_lost_anywhere_leaves_only_temporary_failures(dialect, chunked, pipelining):
    """Each prefix of what the server says in a whole transaction is followed by the end of the connection."""
    disabled = () if pipelining else ("PIPELINING",)
    outgoing = mail(b"x\r\n", to=["b@example.org", "c@example.org"], chunked=chunked)
    for received in itertools.count():
        talk = Conversation(dialect, disabled=disabled).open()
        talk.client.receive_data = _until(talk.client, received)
        talk.client.send(outgoing)
        concluded = talk.conclude()
        codes = [outcome.reply.code for outcome in concluded.outcomes]
        if talk.client.is_open:
            assert codes == [250, 250]
            break
        assert set(codes) <= {250, 451}
        assert codes.count(250) <= (dialect == "lmtp")  # what LMTP has answered is decided
        assert not any(outcome.reply.lines == (LOST,) for outcome in concluded.outcomes if outcome.reply.code == 250)


def _until(client, allowed):
    """A way into the client through which only so many octets pass before the connection is lost."""
    receive, left = client.receive_data, allowed

    def receive_some(octets):
        nonlocal left
        receive(octets[:left])
        if len(octets) > left:
            client.end(LOST)
        left -= len(octets)

    return receive_some


def begun(*replies, content=b"x" * 1000, **more):
    """A client that sent a mail to a server that has said `replies` since, one at a time, and what it wrote last."""
    client = ClientConnection(SMTP, hello_name="client.example.net")
    for reply in DIALOGUE:
        client.receive_data(reply)
        client.data_to_send()
    while client.next_event() is not None:
        pass
    client.send(mail(content, **more))
    written = client.data_to_send()
    for reply in replies:
        client.receive_data(reply)
        written = client.data_to_send()
    return client, written


def outcomes(client):
    while isinstance(event := client.next_event(), ReplyReceived):
        pass
    return [str(outcome.reply) for outcome in event.outcomes]


def test_an_answer_before_the_content_is_complete_ends_the_session():
    """Whatever it says: the octets that the server was promised cannot be taken back."""
    client, _ = begun(chunked=False)
    client.receive_data(b"250 ok\r\n250 ok\r\n354 go\r\n")
    assert len(client.data_to_send(10)) < 20
    client.receive_data(b"250 2.0.0 thanks, that will do\r\n")
    (decided,) = outcomes(client)
    assert decided.startswith("451 4.4.2 the server said, without being asked: 250")
    assert client.data_to_send() == b""


@pytest.mark.parametrize(
    ("replies", "command"),
    [([b"354 go on\r\n"], "MAIL"), ([b"250 ok\r\n250 ok\r\n", b"354 go on\r\n"], "BDAT")],
)
def test_an_answer_of_the_wrong_kind_ends_the_session(replies, command):
    client, _ = begun(*replies)
    (decided,) = outcomes(client)
    assert decided.startswith(f"451 4.4.2 the server's answer to {command}")


def test_data_that_is_answered_at_once_is_no_acceptance():
    client, written = begun(b"250 ok\r\n250 ok\r\n", b"250 queued\r\n", chunked=False)
    assert written == b""
    assert outcomes(client)[0].startswith("451 4.4.2 the server's answer to DATA makes no sense")


def test_a_session_that_shuts_down_in_a_transaction_decides_by_its_reply():
    client, _ = begun(b"421 4.3.2 shutting down\r\n", to=["b@example.org", "c@example.org"])
    client.end(LOST)
    assert outcomes(client) == ["421 4.3.2 shutting down"] * 2


def test_a_refused_data_is_reset():
    client, written = begun(b"250 ok\r\n250 ok\r\n", b"451 4.3.0 not now\r\n", chunked=False)
    assert written == b"RSET\r\n"
    client.receive_data(b"250 ok\r\n")
    assert outcomes(client) == ["451 4.3.0 not now"]


def test_a_refused_last_chunk_is_reset():
    client, written = begun(b"250 ok\r\n250 ok\r\n", b"554 5.6.0 no\r\n")
    assert written == b"RSET\r\n"
    client.receive_data(b"250 ok\r\n")
    assert outcomes(client) == ["554 5.6.0 no"]


def test_a_failure_in_the_pipeline_is_the_first_of_its_replies():
    """What a lenient server says to the chunks behind a refused one does not count, not even that it has the mail."""
    client, written = begun(b"250 ok\r\n250 ok\r\n", b"452 4.3.1 full\r\n250 ok\r\n", containers=((1, b"$x"),))
    assert written == b"RSET\r\n"
    client.receive_data(b"250 ok\r\n")
    assert outcomes(client) == ["452 4.3.1 full"]


# What must not be sent


@pytest.mark.parametrize("content", [b"a\nb", b"a\rb", b"a\r\n.\n.\r\n", b"a\r", b"\r\r\n", b"\n.\r\n"])
@pytest.mark.parametrize("chunked", [True, False])
@pytest.mark.parametrize("limit", [1, 2, 3, 1000])
def test_a_bare_line_end_is_never_sent(content, chunked, limit):
    talk = Conversation().open()
    talk.client.data_to_send = lambda send=talk.client.data_to_send: send(limit)
    with pytest.raises(LocalProtocolError, match="bare CR or LF"):
        talk.send(mail(content, chunked=chunked))
    assert talk.client.data_to_send() == b""
    assert not talk.client.is_open
    assert talk.delivered == []


def test_content_that_ends_early_is_never_completed():
    content = Octets(b"x" * 100)
    content.size = 200
    talk = Conversation().open()
    with pytest.raises(LocalProtocolError, match="before its declared size"):
        talk.send(mail(content))
    assert talk.delivered == []
    assert talk.client.data_to_send() == b""


def test_content_that_cannot_be_read_ends_the_session():
    class Broken(Octets):
        def read_at(self, position, size):
            raise OSError(5, "Input/output error")

    talk = Conversation().open()
    with pytest.raises(OSError, match="Input/output error"):
        talk.send(mail(Broken(b"x")))
    assert not talk.client.is_open


@pytest.mark.parametrize(
    ("disabled", "outgoing"),
    [
        ("METADATA", mail(containers=CONTAINERS)),
        ("CHUNKING", mail(containers=CONTAINERS)),
        ("CHUNKING", mail(body="BINARYMIME")),
        ("BINARYMIME", mail(body="BINARYMIME")),
        ("8BITMIME", mail(body="8BITMIME")),
        ("SMTPUTF8", mail(parameters=(("SMTPUTF8", ""),))),
        ("DSN", mail(parameters=(("RET", "FULL"),))),
        ("DSN", mail(to=[OutgoingRecipient(address("b@example.org"), (("notify", "NEVER"),))])),
        ("AUTH", mail(parameters=(("AUTH", "<>"),))),
    ],
)
def test_what_needs_an_extension_goes_only_where_it_is_offered(disabled, outgoing):
    policy = {"authentication": True, "authentication_without_tls": True}
    talk = Conversation(disabled=[disabled], **policy).open()
    with pytest.raises(NotOffered, match="the server does not offer"):
        talk.client.send(outgoing)
    assert talk.client.data_to_send() == b""
    assert talk.codes(mail()) == [250]
    assert Conversation(**policy).open().codes(outgoing) == [250]


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"to": ()}, "at least one recipient"),
        ({"chunk_octets": 0}, "at least one octet"),
        ({"containers": CONTAINERS, "chunked": False}, "not by DATA"),
        ({"body": "BINARYMIME", "chunked": False}, "not by DATA"),
        ({"containers": ((65536, b""),)}, "number from 0 to 65535"),
        ({"containers": ((-1, b""),)}, "number from 0 to 65535"),
    ],
)
def test_a_mail_that_no_server_could_take_is_none(wrong, why):
    with pytest.raises(LocalProtocolError, match=why):
        mail(**wrong)


@pytest.mark.parametrize(
    ("outgoing", "why"),
    [
        (mail(to=["ä@example.org"]), "needs SMTPUTF8"),
        (mail(parameters=(("RET", "ALL"),)), "FULL or HDRS"),
        (mail(parameters=(("BODY", "9BIT"),)), "no such value"),
        (mail(parameters=(("X", "a b"),)), "malformed"),
        (mail(parameters=(("X", "a\r\nQUIT"),)), "malformed"),
        (mail(parameters=(("X=1 Y", ""),)), "malformed"),
        (mail(parameters=(("X", "a=b"),)), "malformed"),
    ],
)
def test_what_must_not_be_sent_is_refused_before_anything_is_sent(outgoing, why):
    talk = Conversation().open()
    with pytest.raises(LocalProtocolError, match=why):
        talk.client.send(outgoing)
    assert talk.client.data_to_send() == b""
    assert talk.codes(mail()) == [250]


@pytest.mark.parametrize("keyword", ["NOTIFY", "RET", "BODY"])
def test_a_parameter_can_be_judged_before_there_is_a_server(keyword):
    check_parameter(keyword, {"NOTIFY": "NEVER", "RET": "full", "BODY": "8bitmime"}[keyword])
    with pytest.raises(LocalProtocolError, match=keyword):
        check_parameter(keyword, "nonsense")


def test_an_address_cannot_smuggle_a_command():
    hostile = address("b@example.org")
    hostile = type(hostile)(raw="b@example.org>\r\nQUIT", local_part="b", domain="example.org")
    talk = Conversation().open()
    with pytest.raises(LocalProtocolError, match="control character"):
        talk.client.send(mail(reverse_path=hostile))


# Any transaction

ADDRESSES = st.sampled_from(
    ["b@example.org", '"quo ted"@example.org', '"a>b\\"c"@example.org', "ü@exämple.org", "x@[192.0.2.1]", "Postmaster"]
)
LINES = st.lists(st.sampled_from([b"", b".", b"..", b"a", b".a", b"a.", b"\xff\0", b"Subject: x"]), max_size=6)
TEXT = st.builds(lambda lines, end: b"\r\n".join(lines) + end, LINES, st.sampled_from([b"", b"\r\n"]))
CONTAINER = st.one_of(st.just((0, TRACE)), st.tuples(st.integers(2, 65535), st.binary(max_size=20)), st.just((0, b"")))
OPTIONAL = ("PIPELINING", "SIZE", "ENHANCEDSTATUSCODES", "CHUNKING", "METADATA", "DSN")


@st.composite
def transactions(draw):
    disabled = draw(st.sets(st.sampled_from(OPTIONAL)))
    dsn = "DSN" not in disabled
    notify = st.sampled_from([(), (("NOTIFY", "NEVER"),), (("NOTIFY", "FAILURE,SUCCESS"),)]) if dsn else st.just(())
    recipients = draw(st.lists(st.tuples(ADDRESSES, notify), min_size=1, max_size=4))
    metadata = not disabled & {"METADATA", "CHUNKING"}
    outgoing = mail(
        draw(TEXT),
        to=[OutgoingRecipient(address(text), parameters) for text, parameters in recipients],
        reverse_path=address(draw(st.one_of(st.just(""), ADDRESSES.filter(lambda text: "@" in text)))),
        parameters=(("SMTPUTF8", ""), *draw(st.sampled_from([(), (("ENVID", "x+3D"),)]) if dsn else st.just(()))),
        body=draw(st.sampled_from(["7BIT", "8BITMIME"])),
        containers=tuple(draw(st.lists(CONTAINER, max_size=3))) if metadata else (),
        chunk_octets=draw(st.integers(1, 40)),
    )
    return disabled, outgoing


@settings(deadline=None)
@given(transactions(), st.sampled_from(DIALECTS), st.sampled_from(SPLITS), st.integers(1, 60))
def test_any_transaction_arrives_as_it_was_sent(transaction, dialect, split, limit):
    disabled, outgoing = transaction
    talk = Conversation(dialect, disabled=disabled, split=split).open()
    talk.client.data_to_send = lambda send=talk.client.data_to_send: send(limit)
    assert set(talk.codes(outgoing)) == {250}
    (arrived,) = talk.arrived
    assert arrived.complete
    assert arrived.mail.address == outgoing.reverse_path
    assert [p for p in arrived.mail.parameters if p[0] not in ("BODY", "SIZE")] == list(outgoing.parameters)
    assert arrived.mail.body == outgoing.body
    assert [(one.address, one.parameters) for one in arrived.recipients] == [
        (one.address, one.parameters) for one in outgoing.recipients
    ]
    assert tuple(arrived.containers) == outgoing.containers
    content = outgoing.content.octets
    by_data = "CHUNKING" in disabled
    assert arrived.content == content + (b"\r\n" if by_data and content and not content.endswith(b"\r\n") else b"")
    if "SIZE" not in disabled:
        assert arrived.mail.size == len(arrived.content) + sum(2 + len(data) for _, data in outgoing.containers)


@settings(deadline=None)
@given(transactions(), st.sampled_from(DIALECTS), st.data())
def test_pipelining_changes_nothing_but_the_round_trips(transaction, dialect, data):
    disabled, outgoing = transaction
    events = 2 + 2 * len(outgoing.recipients)
    refused = data.draw(st.sets(st.integers(0, events), max_size=3))

    def results(without):
        count = itertools.count()
        talk = Conversation(dialect, disabled=without, answer=lambda event: UNKNOWN if next(count) in refused else OK)
        concluded = talk.open().send(outgoing)
        return concluded, [(one.content, one.containers, one.recipients) for one in talk.delivered]

    assert results(disabled - {"PIPELINING"}) == results(disabled | {"PIPELINING"})


@settings(deadline=None)
@given(
    st.lists(
        st.sampled_from([b"2", b"3", b"4", b"5", b"50 ok\r\n", b"50-ok\r\n", b"\r\n", b"\n", b"21 x\r\n"]), max_size=40
    )
)
def test_nothing_that_a_server_says_raises(pieces):
    client, _ = begun(to=["b@example.org", "c@example.org"])
    for piece in pieces:
        client.receive_data(piece)
        client.data_to_send(50)
    client.end(LOST)
    decided = outcomes(client)
    assert len(decided) == 2
    assert all(reply[0] in "245" for reply in decided)
