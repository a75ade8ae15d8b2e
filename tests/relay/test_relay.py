"""The relay, against our own listener, against aiosmtpd, against Postfix's smtp-sink, and against servers that fail."""

import asyncio
import socket
from contextlib import asynccontextmanager

import pytest
from msgspec import structs

from gateway.address import parse_path
from gateway.connector import PermanentFailure, TransientFailure
from gateway.envelope import Content, Mail, Recipient
from gateway.envelope.flatten import relay_form
from gateway.relay import RELAY_RETRIES
from gateway.testing import check_connector, plain_mail, sample_mails
from tests.relay.servers import HOSTNAME, SECONDS, aiosmtpd, our_listener, relay_to
from tests.servers.ports import free_port
from tests.servers.processes import ServerProcess, find_program

TRUE = b"250 2.0.0 ok\r\n"
HELLO = b"250-mx.example.org\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n"


def sample(name):
    samples = sample_mails()
    mail = samples.pop(name)
    for other in samples.values():
        other.content.close()
    return mail


def a_mail(*, content=None, parameters=(), to=None, body="7BIT"):
    mail = plain_mail()
    envelope = mail.envelope
    transaction = structs.replace(envelope.transaction, body=body)
    sender = structs.replace(envelope.envelope.mail_from, parameters=parameters)
    recipients = envelope.envelope.recipients if to is None else tuple(map(recipient, to))
    smtp = structs.replace(envelope.envelope, mail_from=sender, recipients=recipients)
    envelope = structs.replace(envelope, transaction=transaction, envelope=smtp)
    return Mail(envelope, mail.content if content is None else Content(content))


def recipient(address):
    return Recipient(address=parse_path(address.encode(), utf8=True))


@asynccontextmanager
async def server(talk):
    """What `talk(reader, writer)` does with each connection: the relay to it."""

    async def serve(reader, writer):
        try:
            await talk(reader, writer)
        except ConnectionError:
            pass
        finally:
            writer.close()

    serving = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield relay_to(*serving.sockets[0].getsockname()[:2])
    finally:
        serving.close()


def answering(replies, *, at_the_end=TRUE):
    """A server that answers by verb; `at_the_end` None cuts the connection after the final dot."""
    everything = {"EHLO": HELLO, "MAIL": TRUE, "RCPT": TRUE, "DATA": b"354 go on\r\n", "QUIT": b"221 2.0.0 bye\r\n"}
    everything |= {"RSET": TRUE, **replies}

    async def talk(reader, writer):
        writer.write(everything.get("", b"220 mx.example.org\r\n"))
        while line := await reader.readline():
            verb = line[:4].decode().upper()
            reply = everything[verb]
            if reply is None:
                return
            writer.write(reply)
            if verb == "DATA" and reply.startswith(b"3"):
                await reader.readuntil(b"\r\n.\r\n")
                if at_the_end is None:
                    return
                writer.write(at_the_end)
            if verb == "QUIT":
                return

    return talk


async def failure_of(talk, mail=None):
    async with server(talk) as relay:
        with pytest.raises((TransientFailure, PermanentFailure)) as raised:
            await relay.emit(mail or a_mail())
    assert raised.value.text.isascii()
    return raised.value


async def test_it_keeps_the_contract_of_a_connector(tmp_path):
    async with our_listener(tmp_path) as (relay, taken):
        await check_connector(lambda: relay, max_in_flight=5)
        assert len(taken.mails) > 20


async def test_a_server_with_metadata_gets_the_containers_as_they_are(tmp_path):
    mail = sample("metadata of every type")
    async with our_listener(tmp_path) as (relay, taken):
        receipt = await relay.emit(mail)
        (found,) = taken.mails.values()
    sent, received = mail.envelope, found.envelope
    assert found.content.read() == mail.content.read()
    assert [(each.type, each.data) for each in received.metadata.containers[1:]] == [
        (each.type, each.data) for each in sent.metadata.containers
    ]
    assert received.transaction.hello == HOSTNAME
    assert received.envelope.mail_from.address == sent.envelope.mail_from.address
    assert received.id in receipt.location["reply"]
    assert (receipt.id, receipt.connector, receipt.type) == (sent.id, "next", "smtp")


async def test_a_server_without_metadata_gets_the_trace_in_the_content(tmp_path):
    mail = sample("metadata of every type")
    async with our_listener(tmp_path, disabled=("METADATA",)) as (relay, taken):
        await relay.emit(mail)
        (found,) = taken.mails.values()
    assert found.content.read() == relay_form(mail.envelope.metadata.containers, mail.content).read()
    assert found.content.read().endswith(mail.content.read())


async def test_parameters_of_dsn_go_on_where_they_are_known_and_nowhere_else(tmp_path):
    mail = sample("a thousand recipients")
    for disabled, kept in (((), 1), (("DSN",), 0)):
        async with our_listener(tmp_path, disabled=disabled) as (relay, taken):
            await relay.emit(mail)
            (found,) = taken.mails.values()
        recipients = found.envelope.envelope.recipients
        assert [each.address for each in recipients] == [each.address for each in mail.envelope.envelope.recipients]
        assert {len(each.parameters) for each in recipients} == {kept}


@pytest.mark.parametrize(
    ("disabled", "name", "status"),
    [
        (("SMTPUTF8",), "UTF-8 addresses", "5.6.7"),
        (("BINARYMIME",), "binary content in chunks", "5.6.3"),
        (("8BITMIME",), "plain", "5.6.3"),
    ],
)
async def test_what_the_server_cannot_take_as_it_is_fails_for_good(tmp_path, disabled, name, status):
    async with our_listener(tmp_path, disabled=disabled) as (relay, taken):
        mail = sample(name) if name != "plain" else a_mail(body="8BITMIME", content=b"Subject: x\r\n\r\n\xe9\r\n")
        with pytest.raises(PermanentFailure) as raised:
            await relay.emit(mail)
        assert not taken.mails
    assert str(raised.value.status) == status


async def test_content_with_a_bare_line_end_is_not_sent():
    failure = await failure_of(answering({}), a_mail(content=b"Subject: x\r\n\r\na\nb\r\n"))
    assert isinstance(failure, PermanentFailure)
    assert str(failure.status) == "5.6.0"


async def test_content_that_cannot_be_read_is_no_fault_of_the_mail():
    class Unreadable(Content):
        def read_at(self, position, size):
            raise OSError("gone")

    mail = a_mail()
    failure = await failure_of(answering({}), Mail(mail.envelope, Unreadable(b"x" * 10)))
    assert (type(failure), str(failure.status)) == (TransientFailure, "4.3.0")


@pytest.mark.parametrize("verb", ["MAIL", "RCPT", "DATA", "end"])
@pytest.mark.parametrize(
    ("reply", "kind", "status"),
    [
        (b"451 4.7.1 greylisted\r\n", TransientFailure, "4.7.1"),
        (b"452 full\r\n", TransientFailure, "4.0.0"),
        (b"550 5.1.1 nobody\r\n", PermanentFailure, "5.1.1"),
        (b"554 no\r\n", PermanentFailure, "5.0.0"),
    ],
)
async def test_the_servers_refusal_is_that_of_the_relay(verb, reply, kind, status):
    talk = answering({}, at_the_end=reply) if verb == "end" else answering({verb: reply})
    failure = await failure_of(talk)
    assert (type(failure), str(failure.status)) == (kind, status)
    assert reply.decode().split()[-1] in failure.cause
    assert not getattr(failure, "possibly_stored", False)


@pytest.mark.parametrize(
    ("reply", "about_mail"), [(b"450 4.2.0 greylisted\r\n", True), (b"421 4.3.2 later\r\n", False), (None, False)]
)
async def test_a_reply_to_a_mail_says_nothing_about_the_server_unless_it_leaves(reply, about_mail):
    failure = await failure_of(answering({"RCPT": reply}))
    assert failure.about_mail == about_mail


@pytest.mark.parametrize("verb", ["", "EHLO"])
@pytest.mark.parametrize("reply", [b"554 5.7.1 not you\r\n", b"421 4.3.2 later\r\n"])
async def test_a_server_that_does_not_begin_may_do_so_later(verb, reply):
    failure = await failure_of(answering({verb: reply}))
    assert isinstance(failure, TransientFailure)
    assert failure.status.class_ == 4
    assert not failure.possibly_stored


async def test_a_connection_cut_after_the_final_dot_leaves_the_outcome_open():
    failure = await failure_of(answering({}, at_the_end=None))
    assert isinstance(failure, TransientFailure)
    assert failure.possibly_stored


@pytest.mark.parametrize("verb", ["EHLO", "MAIL", "RCPT", "DATA"])
async def test_a_connection_cut_before_the_content_leaves_nothing_open(verb):
    failure = await failure_of(answering({verb: None}))
    assert isinstance(failure, TransientFailure)
    assert not failure.possibly_stored


async def test_recipients_for_whom_the_server_refuses_the_mail_are_named_in_the_receipt():
    replies = iter([b"550 5.1.1 nobody\r\n", TRUE, b"451 4.2.1 later\r\n"])

    class ByTurns(dict):
        def __getitem__(self, verb):
            return next(replies) if verb == "RCPT" else super().__getitem__(verb)

    async def talk(reader, writer):
        everything = ByTurns(EHLO=b"250 mx\r\n", MAIL=TRUE, DATA=b"354 go\r\n", QUIT=TRUE)
        writer.write(b"220 mx\r\n")
        while line := await reader.readline():
            verb = line[:4].decode()
            writer.write(everything[verb])
            if verb == "DATA":
                await reader.readuntil(b"\r\n.\r\n")
                writer.write(TRUE)

    async with server(talk) as relay:
        receipt = await relay.emit(a_mail(to=["a@example.org", "b@example.org", "c@example.org"]))
    assert [(each.position, type(each.failure), str(each.failure.status)) for each in receipt.refused] == [
        (0, PermanentFailure, "5.1.1"),
        (2, TransientFailure, "4.2.1"),
    ]


@pytest.mark.parametrize(("silent", "possibly_stored"), [("", False), ("MAIL", False), ("DATA", False), ("end", True)])
async def test_a_silent_server_is_left_at_the_deadline(silent, possibly_stored):
    async def hang(reader, writer):
        if silent:
            spoken = answering({silent: b""} if silent != "end" else {}, at_the_end=b"")
            await spoken(reader, writer)
        await reader.read()

    async with server(hang) as relay:
        relay._deadline_seconds = 2
        with pytest.raises(TransientFailure) as raised:
            await asyncio.wait_for(relay.emit(a_mail()), SECONDS)
    assert str(raised.value.status) == "4.4.2"
    assert raised.value.possibly_stored == possibly_stored


async def test_a_server_that_reads_nothing_is_left_at_the_deadline():
    stop = asyncio.Event()

    async def stall(reader, writer):
        writer.write(b"220 mx\r\n" + b"250 mx\r\n" + TRUE + TRUE + b"354 go\r\n")
        await stop.wait()

    async with server(stall) as relay:
        relay._deadline_seconds = 0.5
        with pytest.raises(TransientFailure) as raised:
            await asyncio.wait_for(relay.emit(a_mail(content=b"x" * 70 + b"\r\n" + b"y\r\n" * 10_000_000)), SECONDS)
        stop.set()
    assert not raised.value.possibly_stored


async def test_a_goodbye_that_is_not_answered_changes_nothing(monkeypatch):
    monkeypatch.setattr("gateway.relay.session._QUIT_SECONDS", 0.1)
    for goodbye in (b"", None, b"421 4.3.2 shutting down\r\n"):
        async with server(answering({"QUIT": goodbye})) as relay:
            receipt = await asyncio.wait_for(relay.emit(a_mail()), SECONDS)
        assert receipt.location["reply"] == "250 2.0.0 ok"


async def test_a_server_that_is_not_there_is_unreachable():
    with pytest.raises(TransientFailure) as raised:
        await relay_to("127.0.0.1", free_port()).emit(a_mail())
    assert str(raised.value.status) == "4.4.1"
    assert "127.0.0.1" not in raised.value.text


async def test_what_the_server_says_stays_one_line():
    async with server(answering({}, at_the_end=b"250 2.0.0 queued\x07 as \x1b[1mX\r\n")) as relay:
        receipt = await relay.emit(a_mail())
    assert receipt.location["reply"] == "250 2.0.0 queued? as ?[1mX"


async def test_aiosmtpd_gets_the_mail_as_it_is():
    mail = a_mail(content=b"Subject: x\r\n\r\n.dot\r\n..two\r\n\r\nend\r\n", to=["bob@example.org"])
    with aiosmtpd() as (mailbox, port):
        receipt = await relay_to("127.0.0.1", port).emit(mail)
    ((_, recipients, content),) = mailbox.mails
    assert recipients == ["bob@example.org"]
    assert content == relay_form(mail.envelope.metadata.containers, mail.content).read()
    assert receipt.location["reply"] == "250 2.0.0 taken"


@pytest.fixture
def smtp_sink(tmp_path):
    """Postfix's smtp-sink: start it with options, get the relay to it. It writes each mail to a file."""
    processes = []

    def start(*options):
        port = free_port()
        command = [
            find_program("smtp-sink"),
            "-u",
            "root",
            "-d",
            f"{tmp_path}/%M.",
            *options,
            f"127.0.0.1:{port}",
            "10",
        ]
        process = ServerProcess("smtp-sink", command, log=tmp_path / "log")
        processes.append(process)
        process.start(lambda: answers(port), SECONDS)
        return relay_to("127.0.0.1", port)

    yield start
    for process in processes:
        process.stop()


def answers(port):
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            return connection.recv(3) == b"220"
    except OSError:
        return False


async def test_smtp_sink_takes_the_mail(smtp_sink, tmp_path):
    relay = smtp_sink()
    receipt = await relay.emit(a_mail(content=b"Subject: x\r\n\r\n.dot\r\n", to=["bob@example.org"]))
    assert str(receipt.location["reply"]).startswith("250 ")
    texts = [path.read_text() for path in tmp_path.iterdir() if path.name != "log"]
    assert [text for text in texts if "X-Rcpt-Args: <bob@example.org>" in text and text.rstrip().endswith("\n.dot")]


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        (("-f", "RCPT"), PermanentFailure),
        (("-f", "."), PermanentFailure),
        (("-r", "RCPT"), TransientFailure),
        (("-r", "."), TransientFailure),
    ],
)
async def test_smtp_sink_refuses_the_mail(smtp_sink, options, kind):
    relay = smtp_sink(*options)
    with pytest.raises(kind):
        await relay.emit(a_mail())


@pytest.mark.parametrize(("verb", "possibly_stored"), [("RCPT", False), ("DATA", False), (".", True)])
async def test_smtp_sink_hangs_up(smtp_sink, verb, possibly_stored):
    relay = smtp_sink("-q", verb)
    with pytest.raises(TransientFailure) as raised:
        await relay.emit(a_mail())
    assert raised.value.possibly_stored == possibly_stored


def test_it_is_tried_for_five_days():
    assert 4 * 86_400 < sum(RELAY_RETRIES.delays_seconds) <= 5 * 86_400
    assert not RELAY_RETRIES.for_ever
