"""The load generator says what it should, and believes no server that does not answer."""

import re
import socket
import threading
from contextlib import ExitStack, contextmanager, suppress

import pytest

from tests.bench.generator import Refused, content, mail_steps, run
from tests.bench.load import KB, MB, Failed, Load, generated, send
from tests.bench.ours import gateway
from tests.bench.servers import Servers

_LOAD = {"size": KB, "sessions": 1, "recipients": 1, "dialect": "SMTP", "one_each": False, "containers": 0}


@pytest.fixture(scope="module")
def counting():
    with ExitStack() as running:
        yield running.enter_context(gateway("count")(Servers(running)))


def mails_of(contender):
    """How many it has counted: the location of its last receipt."""
    return max(map(int, re.findall(r'"count": (\d+)', contender.log())), default=0)


@contextmanager
def server_that_says(*replies):
    """Each connection gets the replies, one for each packet that comes, the first one at once."""

    def serve():
        with suppress(OSError):
            connection, _ = listening.accept()
            with connection:
                for reply in replies:
                    connection.sendall(reply)
                    connection.recv(65536)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join(10)


@pytest.mark.parametrize("size", [KB, KB + 1, 20 * KB, MB])
def test_content_has_the_size_that_was_asked_for_and_no_dots_to_double(size):
    octets = content(size)
    assert len(octets) == size
    assert octets.endswith(b"\r\n")
    assert not any(line.startswith(b".") for line in octets.split(b"\r\n"))
    assert max(map(len, octets.split(b"\r\n"))) <= 998


def test_every_reply_is_waited_for():
    data, bdat = ({**_LOAD, "command": command, "recipients": 3, "dialect": "LMTP"} for command in ("DATA", "BDAT"))
    assert [step.replies for step in mail_steps(data)] == [5, 3]
    assert [step.replies for step in mail_steps({**bdat, "containers": 2})] == [1 + 3 + 2 + 3]


@pytest.mark.parametrize(
    "load",
    [
        generated(KB, 20, "DATA"),
        generated(KB, 7, "BDAT", containers=2),
        generated(KB, 5, "BDAT", dialect="LMTP", recipients=3),
        Load(tool="generator", size=KB, sessions=5, one_each=True),
        Load(tool="smtp-source", size=KB, sessions=5),
        generated(2 * MB, 3, "DATA"),
    ],
    ids=str,
)
def test_the_gateway_gets_as_many_mails_as_were_ordered(counting, load):
    before = mails_of(counting)
    sent = send(load, counting.ports[load.dialect], 23)
    assert sent.mails == 23
    assert sent.seconds > 0
    counting.settle()
    assert mails_of(counting) - before == 23


def test_a_refused_mail_is_a_failure_and_no_figure(counting):
    with pytest.raises(Failed, match="552"):
        send(generated(40 * MB, 1, "BDAT"), counting.ports["SMTP"], 1)


@pytest.mark.parametrize(
    ("replies", "what"),
    [
        ((b"421 no\r\n",), "421 no"),
        ((b"220 hello\r\n", b"250-a\r\n250 b\r\n", b"250 s\r\n250 r\r\n451 later\r\n"), "451 later"),
        ((b"220 hello\r\n",), "closed the connection"),
    ],
)
def test_what_a_server_refuses_is_told(replies, what):
    with server_that_says(*replies) as port, pytest.raises(Refused, match=what):
        run({**_LOAD, "command": "BDAT"}, port, 1)
