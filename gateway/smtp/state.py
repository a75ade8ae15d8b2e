"""The states of a server session and the only ways between them.

A session waits for a hello, is READY between transactions, and in a transaction moves MAIL → RCPT → content →
DELIVERING and back to READY. Content comes as DATA, or as CHUNKS (BDAT and BMTD). A chunk that fails makes the
transaction FAILED: later chunks are read and refused until one of them is the last (protocol B41, B42). A chunk that
nobody may send now leaves a state that only a reset clears, RESET_NEEDED (MD00 §3.1, B29).

Everything that moves a session stands in TRANSITIONS. Code elsewhere asks for a step by naming its cause; a pair that
is not in the table is a defect of this engine, never of the peer: whether a command is in sequence is judged before.
"""

from enum import Enum, auto

__all__ = ["TRANSITIONS", "Cause", "State"]


class _Member(Enum):
    """Members are the keys of TRANSITIONS: what `Enum` would hash is their names, in Python, at every step."""

    __hash__ = object.__hash__


class State(_Member):
    """Where a session stands."""

    START = auto()
    READY = auto()
    MAIL = auto()
    RCPT = auto()
    DATA = auto()
    CHUNKS = auto()
    FAILED = auto()
    RESET_NEEDED = auto()
    DELIVERING = auto()
    NEGOTIATING_TLS = auto()
    AUTHENTICATING = auto()
    CLOSED = auto()


class Cause(_Member):
    """What moves a session."""

    HELLO = auto()
    MAIL_ACCEPTED = auto()
    RCPT_ACCEPTED = auto()
    DATA_ACCEPTED = auto()
    CHUNK_ACCEPTED = auto()
    CONTENT_COMPLETE = auto()
    CHUNK_FAILED = auto()
    CHUNK_OUT_OF_SEQUENCE = auto()
    TRANSACTION_ENDED = auto()
    STARTTLS_ACCEPTED = auto()
    TLS_ESTABLISHED = auto()
    AUTH_STARTED = auto()
    AUTH_ENDED = auto()
    CLOSED = auto()


_RESET = {Cause.HELLO: State.READY, Cause.TRANSACTION_ENDED: State.READY, Cause.CLOSED: State.CLOSED}

TRANSITIONS: dict[State, dict[Cause, State]] = {
    State.START: {
        Cause.HELLO: State.READY,
        # RSET before any hello is allowed and changes nothing (RFC 5321 §4.1.4); so is a chunk, which is refused.
        Cause.TRANSACTION_ENDED: State.START,
        Cause.CHUNK_OUT_OF_SEQUENCE: State.START,
        Cause.TLS_ESTABLISHED: State.START,
        Cause.CLOSED: State.CLOSED,
    },
    State.READY: _RESET
    | {
        Cause.MAIL_ACCEPTED: State.MAIL,
        Cause.CHUNK_OUT_OF_SEQUENCE: State.RESET_NEEDED,
        Cause.STARTTLS_ACCEPTED: State.NEGOTIATING_TLS,
        Cause.AUTH_STARTED: State.AUTHENTICATING,
    },
    State.MAIL: _RESET
    | {
        Cause.RCPT_ACCEPTED: State.RCPT,
        Cause.CHUNK_FAILED: State.FAILED,
        Cause.CHUNK_OUT_OF_SEQUENCE: State.RESET_NEEDED,
    },
    State.RCPT: _RESET
    | {
        Cause.RCPT_ACCEPTED: State.RCPT,
        Cause.DATA_ACCEPTED: State.DATA,
        Cause.CHUNK_ACCEPTED: State.CHUNKS,
        Cause.CHUNK_FAILED: State.FAILED,
        Cause.CHUNK_OUT_OF_SEQUENCE: State.RESET_NEEDED,
    },
    State.DATA: {
        Cause.CONTENT_COMPLETE: State.DELIVERING,
        Cause.TRANSACTION_ENDED: State.READY,
        Cause.CLOSED: State.CLOSED,
    },
    State.CHUNKS: _RESET
    | {
        Cause.CHUNK_ACCEPTED: State.CHUNKS,
        Cause.CONTENT_COMPLETE: State.DELIVERING,
        Cause.CHUNK_FAILED: State.FAILED,
        Cause.CHUNK_OUT_OF_SEQUENCE: State.RESET_NEEDED,
    },
    State.FAILED: _RESET | {Cause.CHUNK_FAILED: State.FAILED, Cause.CHUNK_OUT_OF_SEQUENCE: State.RESET_NEEDED},
    State.RESET_NEEDED: _RESET
    | {Cause.CHUNK_OUT_OF_SEQUENCE: State.RESET_NEEDED, Cause.STARTTLS_ACCEPTED: State.NEGOTIATING_TLS},
    State.DELIVERING: {Cause.TRANSACTION_ENDED: State.READY, Cause.CLOSED: State.CLOSED},
    # RFC 3207 §4.2: after the handshake the server knows nothing any more, the hello included.
    State.NEGOTIATING_TLS: {Cause.TLS_ESTABLISHED: State.START, Cause.CLOSED: State.CLOSED},
    State.AUTHENTICATING: {Cause.AUTH_ENDED: State.READY, Cause.CLOSED: State.CLOSED},
    State.CLOSED: {},
}
