"""What the tests of spooled mail ask of a gateway: what it has said of its deliveries, and what its operator can do."""

import subprocess
import time

from tests.end_to_end.gateway import ID, MAILSLUICE, Gateway
from tests.torture.gateway import SpoolView

DELIVERED = '"event": "delivered"'
PUT_OFF = '"event": "put off"'

_TIDY_SECONDS = 5.0
_LISTED_SECONDS = 30.0
_POLL_SECONDS = 0.02


def id_in(reply: str) -> str:
    """The id in a positive reply, which the gateway has to keep from then on."""
    (id_,) = ID.findall(reply)
    assert reply == f"250 2.0.0 {id_} accepted"
    return id_


def drained(gateway: Gateway) -> SpoolView:
    """Wait until nothing is left to deliver, and see that nothing is left over."""
    spool = SpoolView(gateway.folder / "spool")
    spool.wait_until_drained(gateway)
    # A file goes after the row that named it.
    deadline = time.monotonic() + _TIDY_SECONDS
    while (left := spool.leftovers()) and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
    assert not left, left
    return spool


def retry(gateway: Gateway, *selection: str) -> str:
    """What `mailsluice spool retry` says."""
    return _spool(gateway, "retry", *selection)


def listed(gateway: Gateway) -> str:
    """What `mailsluice spool ls` says."""
    return _spool(gateway, "ls")


def wait_until_listed(gateway: Gateway, text: str) -> None:
    """Return once `mailsluice spool ls` has it."""
    deadline = time.monotonic() + _LISTED_SECONDS
    while text not in (said := listed(gateway)):
        assert time.monotonic() < deadline, said


def _spool(gateway: Gateway, *words: str) -> str:
    command = [MAILSLUICE, "spool", *words, "--spool", gateway.folder / "spool"]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
