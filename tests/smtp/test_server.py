"""What the owner of a server engine may count on, and what it must not do."""

import pytest

from gateway.smtp import (
    LMTP,
    SMTP,
    ContentReceived,
    Limits,
    MailReceived,
    MessageReceived,
    Policy,
    RecipientReceived,
    Reply,
    ServerConnection,
    State,
    TlsRequested,
    TransactionAborted,
    Waiting,
    extension_table,
)

OK = Reply.of(250, "2.0.0", "ok")
NO = Reply.of(550, "5.7.1", "no")
FULL = Reply.of(452, "4.3.1", "disk full")
ENVELOPE = b"MAIL FROM:<s@example.net>\r\nRCPT TO:<a@example.org>\r\n"


def connection(dialect=SMTP, **policy):
    made = ServerConnection(
        dialect,
        hostname="mx.example.com",
        extensions=extension_table(Policy(message_octets=1000, **policy)),
        limits=Limits(message_octets=1000),
    )
    made.greet()
    made.receive_data(b"LHLO a\r\n" if dialect is LMTP else b"EHLO a\r\n")
    assert made.next_event() is Waiting.FOR_OCTETS
    made.data_to_send()
    return made


def events(made):
    """The events until the engine waits; those that ask are answered with OK."""
    found = []
    while not isinstance(event := made.next_event(), Waiting):
        found.append(event)
        if isinstance(event, MailReceived | RecipientReceived):
            made.answer(OK)
    return found


def replies(made):
    return made.data_to_send().decode().splitlines()


def test_nothing_is_read_past_a_question():
    made = connection()
    made.receive_data(b"MAIL FROM:<s@example.net>\r\nNOOP\r\n")
    assert isinstance(made.next_event(), MailReceived)
    assert made.next_event() is Waiting.FOR_ANSWER
    assert replies(made) == []
    made.answer(OK)
    assert made.next_event() is Waiting.FOR_OCTETS
    assert replies(made) == ["250 2.0.0 ok", "250 2.0.0 OK"]


def test_the_owner_may_refuse_mail_and_recipients():
    made = connection()
    made.receive_data(b"MAIL FROM:<s@example.net>\r\n")
    made.next_event()
    made.answer(NO)
    assert made.state is State.READY
    made.receive_data(b"MAIL FROM:<s@example.net>\r\nRCPT TO:<a@example.org>\r\nDATA\r\n")
    made.next_event()
    made.answer(OK)
    made.next_event()
    made.answer(NO)
    assert made.next_event() is Waiting.FOR_OCTETS
    assert replies(made) == ["550 5.7.1 no", "250 2.0.0 ok", "550 5.7.1 no", "554 5.5.1 no valid recipients"]


@pytest.mark.parametrize("answers", [(), (OK, OK)])
def test_a_question_has_one_answer(answers):
    made = connection()
    made.receive_data(b"MAIL FROM:<s@example.net>\r\n")
    made.next_event()
    with pytest.raises(RuntimeError, match="takes one reply"):
        made.answer(*answers)


def test_nothing_is_answered_that_was_not_asked():
    with pytest.raises(RuntimeError, match="takes one reply"):
        connection().answer(OK)


def test_a_request_for_tls_is_no_question():
    made = connection(starttls=True)
    made.receive_data(b"STARTTLS\r\n")
    assert isinstance(made.next_event(), TlsRequested)
    with pytest.raises(RuntimeError, match="takes one reply"):
        made.answer(OK)


@pytest.mark.parametrize(("dialect", "answers"), [(SMTP, ()), (SMTP, (OK, OK)), (LMTP, (OK,)), (LMTP, (OK, OK, OK))])
def test_a_message_has_as_many_answers_as_the_client_will_read(dialect, answers):
    made = connection(dialect)
    made.receive_data(ENVELOPE + b"RCPT TO:<b@example.org>\r\nBDAT 0 LAST\r\n")
    assert isinstance(events(made)[-1], MessageReceived)
    with pytest.raises(RuntimeError, match="replies to a message that needs"):
        made.answer(*answers)


def test_the_owner_may_fail_a_transaction_between_chunks():
    made = connection()
    made.receive_data(ENVELOPE + b"BDAT 2\r\n\r\n")
    events(made)
    made.fail_transaction(FULL)
    assert events(made) == [TransactionAborted(FULL)]
    replies(made)
    made.receive_data(b"BDAT 2\r\n\r\nBDAT 0 LAST\r\nNOOP\r\n")
    assert events(made) == []
    assert replies(made) == ["452 4.3.1 disk full", "503 5.5.1 the transaction has failed", "250 2.0.0 OK"]


def test_the_owner_may_fail_a_transaction_inside_a_chunk():
    made = connection(LMTP)
    made.receive_data(ENVELOPE + b"RCPT TO:<b@example.org>\r\nBDAT 10 LAST\r\nhello")
    events(made)
    made.fail_transaction(FULL)
    made.fail_transaction(NO)
    replies(made)
    made.receive_data(b"you\r\n")
    assert events(made) == [TransactionAborted(FULL)]
    assert replies(made) == ["452 4.3.1 disk full"] * 2


def test_the_owner_may_fail_a_transaction_inside_a_container():
    made = connection()
    made.receive_data(ENVELOPE + b"BMTD 10\r\n\x7f\0")
    events(made)
    made.fail_transaction(FULL)
    replies(made)
    made.receive_data(b"12345678")
    assert events(made) == [TransactionAborted(FULL)]
    assert replies(made) == ["452 4.3.1 disk full"]


def test_a_failed_transaction_brings_no_more_content():
    made = connection()
    made.receive_data(ENVELOPE + b"DATA\r\nhello\r\n")
    assert ContentReceived(b"hello") in events(made)
    made.fail_transaction(FULL)
    assert events(made) == [TransactionAborted(FULL)]
    made.receive_data(b"there\r\n.\r\n")
    assert events(made) == []
    assert replies(made)[-1] == "452 4.3.1 disk full"


def test_a_message_that_was_told_can_only_be_answered():
    made = connection()
    made.receive_data(ENVELOPE + b"BDAT 2 LAST\r\n\r\n")
    events(made)
    made.fail_transaction(FULL)
    made.answer(OK)
    assert events(made) == []
    assert replies(made)[-1] == "250 2.0.0 ok"


def test_outside_a_transaction_nothing_can_fail():
    made = connection()
    made.fail_transaction(FULL)
    made.receive_data(ENVELOPE + b"BDAT 2 LAST\r\n\r\n")
    assert isinstance(events(made)[-1], MessageReceived)


def test_a_session_that_the_owner_closes_aborts_its_transaction_and_reads_nothing_more():
    made = connection()
    made.receive_data(ENVELOPE + b"DATA\r\nhello\r\n")
    events(made)
    made.close(Reply.of(421, "4.3.2", "shutting down"))
    made.close(Reply.of(421, "4.3.2", "again"))
    assert [type(event).__name__ for event in events(made)] == ["TransactionAborted", "ConnectionEnded"]
    made.receive_data(b".\r\nNOOP\r\n")
    assert events(made) == []
    assert replies(made)[-1] == "421 4.3.2 shutting down"


def test_a_disabled_chunk_of_unreadable_size_ends_the_session():
    made = ServerConnection(
        SMTP,
        hostname="mx.example.com",
        extensions=extension_table(Policy(message_octets=1000), disabled=["CHUNKING"]),
        limits=Limits(message_octets=1000),
    )
    made.receive_data(b"BDAT many\r\nNOOP\r\n")
    events(made)
    assert replies(made) == ["501 5.5.4 the chunk size is not a number of octets"]
    assert made.state is State.CLOSED


def test_a_session_that_waits_holds_no_octets():
    made = connection()
    made.receive_data(ENVELOPE + b"BDAT 900\r\n" + b"x" * 900)
    events(made)
    assert made._octets == b""
    made.receive_data(b"NOOP\r\n" * 50)
    events(made)
    assert made._octets == b""
