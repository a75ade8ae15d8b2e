"""Kill -9 at random moments under load: what was acknowledged is delivered, and nothing else is.

300 kills in all; `make torture` is the long form. A failure names its seed, which TORTURE_SEED sets again.
"""

import hashlib
import os
import secrets
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from tests.app.gateway_process import GatewayProcess
from tests.end_to_end import tables
from tests.end_to_end.gateway import Gateway
from tests.end_to_end.mails import MAIL
from tests.end_to_end.spools import drained, id_in
from tests.end_to_end.wire import deliver
from tests.spool.spools import rows
from tests.torture.kill import Servers, run
from tests.torture.sinks import DirectorySink

# Gateways at one time: most of a cycle is the start of one.
LANES = 2
# The 250 is made once the commit has returned, and this is where it would go out.
DIES_BEFORE_THE_250 = """
import os, signal
from gateway.smtp.server import ServerConnection
data_to_send = ServerConnection.data_to_send
def data_to_send_or_die(self):
    output = data_to_send(self)
    if output.endswith(b" accepted\\r\\n"):
        os.kill(os.getpid(), signal.SIGKILL)
    return output
ServerConnection.data_to_send = data_to_send_or_die
"""


@pytest.mark.parametrize(
    ("name", "kills"),
    [
        ("directory delivered", 80),
        ("directory spooled", 100),
        ("http spooled", 80),
        ("two workers spooled", 10),
        ("one of two workers spooled", 10),
    ],
)
def test_what_was_acknowledged_survives_kills(tmp_path: Path, name: str, kills: int):
    survive(name, tmp_path, kills)


def test_what_was_acknowledged_reaches_a_bucket(tmp_path: Path, s3_server):
    survive("s3 spooled", tmp_path, 10, Servers(s3=s3_server))


def test_what_was_acknowledged_reaches_a_topic(tmp_path: Path, kafka):
    survive("kafka spooled", tmp_path, 10, Servers(kafka=kafka))


def test_a_mail_whose_250_a_kill_cut_off_is_there_and_comes_again_under_another_id(tmp_path: Path):
    configuration = tables.LISTENERS + tables.directory() + tables.spooled("archive")
    (tmp_path / "mailsluice.toml").write_text(configuration)
    with GatewayProcess("--config", "mailsluice.toml", folder=tmp_path, prelude=DIES_BEFORE_THE_250) as dying:
        with suppress(ConnectionError):
            assert deliver(dying.addresses["smtp"], MAIL, "bob@example.org") == [""]
        assert dying.wait() == -signal.SIGKILL
    assert len(rows(tmp_path / "spool", "SELECT * FROM message")) == 1
    with Gateway(tmp_path, configuration) as gateway:
        again = id_in(deliver(gateway.addresses["smtp"], MAIL, "bob@example.org")[0])
        drained(gateway)
        assert gateway.stop() == 0
    stored = DirectorySink(tmp_path / "mail").delivered()
    assert {mail.sha256 for mail in stored} == {hashlib.sha256(MAIL).hexdigest()}
    ids = [mail.mail_id for mail in stored]
    assert (len(ids), len({*ids})) == (2, 2)
    assert again in ids


def survive(name: str, root: Path, kills: int, servers: Servers | None = None) -> None:
    seed = os.environ.get("TORTURE_SEED") or secrets.token_hex(4)

    def lane(number: int):
        folder = root / f"lane-{number}"
        folder.mkdir()
        return run(name, folder, seed=f"{seed}-{number}", cycles=kills // LANES, servers=servers)

    print(f"TORTURE_SEED={seed}")
    with ThreadPoolExecutor(LANES) as lanes:
        verdicts = list(lanes.map(lane, range(LANES)))
    for verdict in verdicts:
        assert verdict.is_clean, f"TORTURE_SEED={seed}\n{verdict}"
        assert verdict.acked > kills, "there was hardly any load"
