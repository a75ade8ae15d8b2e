"""A machine that stands still for a while, as a paused virtual machine does. PAUSE_SECONDS=60 is the long form."""

import os
import time

import pytest

from tests.end_to_end import tables
from tests.end_to_end.gateway import Gateway
from tests.end_to_end.mails import MAIL
from tests.end_to_end.spools import PUT_OFF, drained, id_in
from tests.end_to_end.wire import Wire, deliver

SECONDS = float(os.environ.get("PAUSE_SECONDS", "3"))
TO = "bob@example.org"
MAILS = 20


def test_after_a_pause_everything_goes_on_where_it_stood(tmp_path):
    """Mail in every state is completed; the lock is still held; nothing comes twice."""
    configuration = tables.LISTENERS + tables.directory() + tables.spooled("archive")
    folder, second = tmp_path / "first", tmp_path / "second"
    folder.mkdir()
    second.mkdir()
    with Gateway(folder, configuration) as gateway, Wire(gateway.addresses["smtp"]) as client:
        client.greet()
        client.begin(TO)
        assert client.ask("DATA").startswith("354")
        client.send(MAIL[:20])
        accepted = [id_in(deliver(gateway.addresses["smtp"], MAIL, TO)[0]) for _ in range(MAILS)]
        gateway.pause()
        # The kernel takes what a client says meanwhile.
        client.send(MAIL[20:].replace(b"\r\n.", b"\r\n..") + b".\r\n")
        refused = Gateway(second, configuration.replace("[gateway]\n", f'[gateway]\nspool = "{folder}/spool"\n'))
        with pytest.raises(AssertionError, match="belongs to another running mailsluice"):
            refused.start()
        time.sleep(SECONDS)
        gateway.resume()
        accepted.append(id_in(client.read()))
        gateway.wait_for('"event": "delivered"', count=len(accepted))
        drained(gateway)
        assert gateway.stop() == 0
        assert sorted(record["id"] for record in gateway.records("delivered")) == sorted(accepted)
        assert PUT_OFF not in gateway.log


def test_after_kill_9_a_spool_is_taken_over_without_a_hand(tmp_path):
    configuration = tables.LISTENERS + tables.directory() + tables.spooled("archive")
    with Gateway(tmp_path, configuration) as gateway:
        for _ in range(2):
            id_in(deliver(gateway.addresses["smtp"], MAIL, TO)[0])
            gateway.kill()
            assert (tmp_path / "spool" / "lock").exists()
            gateway.start()
        drained(gateway)
        assert gateway.stop() == 0
