"""The table of states: the engine takes no step that is not in it, and everything in it is there for some client."""

import re
from pathlib import Path

import pytest

from gateway.smtp import Limits, Reply, ServerConnection, State
from gateway.smtp.state import TRANSITIONS, Cause
from tests.smtp.owner import Owner

HELLO = b"EHLO a\r\n"
MAIL = b"MAIL FROM:<s@example.net>\r\n"
RCPT = b"RCPT TO:<a@example.org>\r\n"
CHUNK = b"BDAT 2\r\n\r\n"
LAST = b"BDAT 0 LAST\r\n"
STRAY = b"BMTD 2\r\n\0\0"
BAD_CHUNK = b"BMTD 1\r\nx"
RSET = b"RSET\r\n"
QUIT = b"QUIT\r\n"
STARTTLS = b"STARTTLS\r\n"

# How a session comes to each state …
WAYS = {
    State.START: b"",
    State.READY: HELLO,
    State.MAIL: HELLO + MAIL,
    State.RCPT: HELLO + MAIL + RCPT,
    State.DATA: HELLO + MAIL + RCPT + b"DATA\r\n",
    State.CHUNKS: HELLO + MAIL + RCPT + CHUNK,
    State.FAILED: HELLO + MAIL + RCPT + BAD_CHUNK,
    State.RESET_NEEDED: HELLO + STRAY,
    State.NEGOTIATING_TLS: HELLO + STARTTLS,
    State.AUTHENTICATING: HELLO + b"AUTH PLAIN\r\n",
    State.CLOSED: QUIT,
}
# … and what it is sent there, one after another, each time to a session of its own.
SENT = {
    State.START: [HELLO, RSET, STRAY, QUIT],
    State.READY: [HELLO, RSET, QUIT, MAIL, STRAY, STARTTLS, b"AUTH PLAIN\r\n"],
    State.MAIL: [HELLO, RSET, QUIT, RCPT, BAD_CHUNK],
    State.RCPT: [HELLO, RSET, QUIT, RCPT, b"DATA\r\n", CHUNK, BAD_CHUNK, LAST],
    State.DATA: [b".\r\n", b"\n\r\n.\r\n", b"x" * 200],
    State.CHUNKS: [HELLO, RSET, QUIT, CHUNK, LAST, BAD_CHUNK, b"DATA\r\n"],
    State.FAILED: [HELLO, RSET, QUIT, CHUNK, LAST, b"DATA\r\n"],
    State.RESET_NEEDED: [HELLO, RSET, QUIT, STRAY, STARTTLS],
    State.AUTHENTICATING: [b"*\r\n", b"NOOP\n"],
}


class Recording:
    """Keeps the steps that a connection took."""

    def __init__(self, connection: ServerConnection) -> None:
        self.steps: set[tuple[State, Cause]] = set()
        self._connection = connection
        self._step = connection.step
        connection.step = self._record

    def _record(self, cause: Cause) -> None:
        self.steps.add((self._connection.state, cause))
        self._step(cause)


def session(octets: bytes = b"") -> tuple[Owner, Recording]:
    limits = Limits(message_octets=100, metadata_octets=100)
    owner = Owner(limits=limits, starttls=True, authentication=True, authentication_without_tls=True)
    recording = Recording(owner.connection)
    owner.receive(octets)
    return owner, recording


@pytest.mark.parametrize("state", WAYS)
def test_every_way_leads_there(state):
    owner, _ = session(WAYS[state])
    assert owner.connection.state is state


def test_every_step_in_the_table_is_taken_by_some_session():
    taken: set[tuple[State, Cause]] = set()
    for state, ways in SENT.items():
        for octets in ways:
            _, recording = session(WAYS[state] + octets)
            taken |= recording.steps
    taken |= steps_of_helo_clients() | steps_of_owners()
    assert taken == {(state, cause) for state, causes in TRANSITIONS.items() for cause in causes}


def steps_of_helo_clients() -> set[tuple[State, Cause]]:
    helo = HELLO.replace(b"EHLO", b"HELO")
    return session(helo + MAIL + STRAY)[1].steps | session(helo + MAIL + RCPT + STRAY)[1].steps


def steps_of_owners() -> set[tuple[State, Cause]]:
    """What only the owner can do: TLS, and ending a session at a moment when the client has no say."""
    shutdown = Reply.of(421, "4.3.2", "shutting down")
    steps: set[tuple[State, Cause]] = set()
    for way in (b"", HELLO + STARTTLS):
        owner, recording = session(way)
        owner.connection.tls_established()
        steps |= recording.steps
    owner, recording = session(HELLO + STARTTLS)
    owner.connection.close(shutdown)
    steps |= recording.steps
    owner, recording = session(HELLO + MAIL + RCPT)
    owner.connection.receive_data(LAST)
    while owner.connection.state is not State.DELIVERING:
        owner.connection.next_event()
    owner.connection.close(shutdown)
    return steps | recording.steps


@pytest.mark.parametrize("state", WAYS)
def test_the_owner_may_end_a_session_anywhere(state):
    owner, _ = session(WAYS[state])
    owner.connection.close(Reply.of(421, "4.3.2", "shutting down"))
    assert owner.connection.state is State.CLOSED
    assert owner.receive(MAIL + RCPT) == (b"" if state is State.CLOSED else b"421 4.3.2 shutting down\r\n")


def test_no_module_but_the_table_names_the_state_that_is_next():
    folder = Path(__file__).parents[2] / "gateway" / "smtp"
    lines = [line.strip() for path in folder.rglob("*.py") for line in path.read_text("utf-8").splitlines()]
    assigned = [line for line in lines if re.search(r"\bstate = ", line)]
    assert assigned == ["self.state = State.START", "self.state = TRANSITIONS[self.state][cause]"]
