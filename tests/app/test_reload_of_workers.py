"""SIGHUP with several workers: all of them take the new configuration, or none does."""

import json
import os
import signal
import smtplib
import time
from collections import deque
from itertools import count, islice
from pathlib import Path

import pytest

from tests.app.gateway_process import GatewayProcess
from tests.app.test_broken_workers import SAMPLE, allow_descriptors, elsewhere
from tests.app.test_workers import (
    CONNECTIONS,
    processes,
    records,
    reload,
    send,
    stop,
    wait_until,
    write,
)
from tests.servers.ports import free_port

REFUSED = "alarm: the configuration was not reloaded; the old one stays"
NEW = SAMPLE.replace("example.org", "example.com")
# Who opens or closes the connector says so, and who is prepared does. Who removes the file that is called one is the
# only one to be refused; as long as there is one that is called shut, all wait but who removes the one called pass.
# What the process closes next whose id a file has in its name takes for ever.
STEPS = """
import asyncio, os, pathlib, sample_connectors
from gateway.app.channel import Channel, Prepared
def tell(file):
    with pathlib.Path(file).open("a") as lines:
        print(os.getpid(), file=lines)
def has(file):
    try:
        pathlib.Path(file).unlink()
    except FileNotFoundError:
        return False
    return True
send = Channel.send
def send_and_tell(self, message):
    send(self, message)
    if isinstance(message, Prepared):
        tell("prepared")
Channel.send = send_and_tell
open_at_once = sample_connectors.Sample.open
async def open(self):
    tell("opened")
    passes = has("pass")
    while pathlib.Path("shut").exists() and not passes:
        await asyncio.sleep(0.01)
    if has("one"):
        raise sample_connectors.PermanentFailure(sample_connectors.ADMINISTRATIVE_REFUSAL, "", cause="another has it")
    await open_at_once(self)
sample_connectors.Sample.open = open
async def close(self):
    tell("closed")
    if has(f"hang-{os.getpid()}"):
        await asyncio.Event().wait()
sample_connectors.Sample.close = close
"""


@pytest.fixture
def path(tmp_path):
    return write(tmp_path, SAMPLE)


@pytest.fixture
def gateway(path, tmp_path):
    with GatewayProcess("--config", path, folder=tmp_path, prelude=STEPS) as process:
        yield process


@pytest.fixture
def told(tmp_path):
    """The process ids in one of the files that tell of the steps."""

    def told(file):
        return [int(each) for each in (tmp_path / file).read_text().split()] if (tmp_path / file).exists() else []

    return told


def descriptors(process):
    """Those that it has for good: what looks through the spool after the start has some for a moment."""
    seen = deque(maxlen=10)

    def are_settled():
        seen.append(frozenset(int(each.name) for each in Path(f"/proc/{process}/fd").iterdir()))
        return len(seen) == seen.maxlen and len(set(seen)) == 1

    wait_until(are_settled)
    return seen[0]


def both_take(gateway, recipient, *, but):
    for _ in range(CONNECTIONS):
        send(gateway.address("mx"), recipient=recipient)
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            send(gateway.address("mx"), recipient=but)
    mails = [json.loads(gateway.read_until('"event": "mail"')[-1]) for _ in range(CONNECTIONS)]
    assert {line["worker"] for line in mails} == {0, 1}


def both_have_the_old_one(gateway):
    both_take(gateway, "b@example.org", but="b@example.com")


def both_have_the_new_one(gateway):
    both_take(gateway, "b@example.com", but="b@example.org")


def prepare_one(gateway, path, folder, told, text=NEW):
    """Begin to reload, and return the process id of the one that is prepared while the other one is not."""
    (folder / "shut").touch()
    (folder / "pass").touch()
    path.write_text(text)
    gateway.signal(signal.SIGHUP)
    wait_until(lambda: told("prepared") and len(told("opened")) == 4)
    (prepared,) = told("prepared")
    return prepared


def test_what_one_worker_cannot_take_no_worker_takes_and_that_is_said_once(gateway, path, tmp_path, told):
    (tmp_path / "one").touch()
    line = reload(gateway, path, NEW)
    assert line["event"] == REFUSED
    assert line["cause"] == 'connector "archive" cannot be opened: another has it'
    assert line["workers"] in ([0], [1])
    assert "worker" not in line
    both_have_the_old_one(gateway)
    # Of the new connectors both are closed, that of the one that could have taken it, too.
    assert sorted(told("closed")) == sorted(processes(gateway))
    assert reload(gateway, path, NEW)["event"] == "configuration reloaded"
    both_have_the_new_one(gateway)
    stop(gateway)
    assert len(records(gateway, REFUSED)) == 1


def test_a_worker_that_is_prepared_has_the_old_configuration_until_all_are(gateway, path, tmp_path, told):
    prepare_one(gateway, path, tmp_path, told)
    both_have_the_old_one(gateway)
    (tmp_path / "shut").unlink()
    gateway.read_until("configuration reloaded")
    both_have_the_new_one(gateway)
    stop(gateway)


def test_a_worker_that_is_killed_when_it_is_prepared_comes_back_with_what_is_decided(gateway, path, tmp_path, told):
    os.kill(prepare_one(gateway, path, tmp_path, told), signal.SIGKILL)
    gateway.read_until("a worker has ended")
    (tmp_path / "shut").unlink()
    gateway.read_until_all("configuration reloaded", "a worker is back")
    both_have_the_new_one(gateway)
    stop(gateway)


def test_a_worker_that_is_killed_before_it_is_prepared_has_all_keep_the_old_configuration(
    gateway, path, tmp_path, told
):
    prepared = prepare_one(gateway, path, tmp_path, told)
    (other,) = set(processes(gateway)) - {prepared}
    os.kill(other, signal.SIGKILL)
    gateway.read_until("a worker has ended")
    line = json.loads(gateway.read_until("not reloaded")[-1])
    assert line["cause"] == f"worker {line['workers'][0]} was ended by signal 9"
    (tmp_path / "shut").unlink()
    gateway.read_until("a worker is back")
    both_have_the_old_one(gateway)
    stop(gateway)


def test_who_starts_in_the_middle_of_a_reload_holds_no_address_of_what_is_dropped(gateway, path, tmp_path, told):
    new = NEW.replace("127.0.0.1:0", f"127.0.0.1:{free_port()}")
    prepared = prepare_one(gateway, path, tmp_path, told, new)
    (other,) = set(processes(gateway)) - {prepared}
    os.kill(prepared, signal.SIGKILL)
    wait_until(lambda: len(told("opened")) == 5)
    os.kill(other, signal.SIGKILL)
    (tmp_path / "shut").unlink()
    gateway.read_until_all("not reloaded", "a worker is back")
    assert reload(gateway, path, new)["event"] == "configuration reloaded"
    stop(gateway)


def test_what_one_worker_has_no_descriptors_for_no_worker_takes(path, tmp_path):
    with GatewayProcess("--config", path, folder=tmp_path) as gateway:
        worker = processes(gateway)[1]
        taken = descriptors(worker)
        # Two for the addresses, one for the file and then for the first to listen at.
        third = next(islice((number for number in count() if number not in taken), 2, None))
        before = allow_descriptors(worker, third + 1)
        line = reload(gateway, path, elsewhere(NEW))
        allow_descriptors(worker, before)
        assert line["cause"] == 'listener "backend" cannot listen on unix:other.sock: Too many open files'
        assert line["workers"] == [1]
        both_have_the_old_one(gateway)
        stop(gateway)


def test_a_reload_that_takes_long_is_an_alarm_that_names_who_is_waited_for(tmp_path, told):
    path = write(tmp_path, SAMPLE)
    soon = "import gateway.app.supervisor\ngateway.app.supervisor._LONG_RELOAD_SECONDS = 0.1\n"
    with GatewayProcess("--config", path, folder=tmp_path, prelude=soon + STEPS) as gateway:
        prepared = prepare_one(gateway, path, tmp_path, told)
        line = json.loads(gateway.read_until("alarm: a reload is still under way")[-1])
        assert set(processes(gateway)) - {prepared} <= set(line["processes"].values())
        (tmp_path / "shut").unlink()
        gateway.read_until("configuration reloaded")
        stop(gateway)


def test_the_end_comes_to_who_is_prepared_as_well(gateway, path, tmp_path, told):
    prepare_one(gateway, path, tmp_path, told, elsewhere(NEW))
    stop(gateway)
    assert sorted(told("closed")) == sorted(told("opened"))
    assert not list(tmp_path.glob("*.sock"))


def test_the_end_does_not_wait_for_what_was_only_prepared(tmp_path, told):
    path = write(tmp_path, SAMPLE.replace("drain_seconds = 1", "drain_seconds = 60"))
    with GatewayProcess("--config", path, folder=tmp_path, prelude=STEPS) as gateway:
        prepared = prepare_one(gateway, path, tmp_path, told)
        (tmp_path / f"hang-{prepared}").touch()
        begun = time.monotonic()
        stop(gateway)
        # `drain_seconds` is for mail.
        assert time.monotonic() - begun < 30


def test_a_file_that_changes_in_the_middle_of_a_reload_is_taken_by_nobody(gateway, path, told):
    late = processes(gateway)[1]
    os.kill(late, signal.SIGSTOP)
    path.write_text(NEW)
    gateway.signal(signal.SIGHUP)
    wait_until(lambda: told("prepared"))
    path.write_text(SAMPLE.replace("example.org", "example.net"))
    os.kill(late, signal.SIGCONT)
    line = json.loads(gateway.read_until("not reloaded")[-1])
    assert line["cause"] == "the configuration has changed meanwhile; reload it again"
    assert line["workers"] == [1]
    both_have_the_old_one(gateway)
    stop(gateway)


def test_a_signal_in_the_middle_of_a_reload_names_those_who_are_not_prepared(gateway, path, tmp_path, told):
    prepared = prepare_one(gateway, path, tmp_path, told)
    gateway.signal(signal.SIGHUP)
    line = json.loads(gateway.read_until("still under way")[-1])
    assert set(line["processes"].values()) == set(processes(gateway)) - {prepared}
    (tmp_path / "shut").unlink()
    for _ in range(2):
        gateway.read_until("configuration reloaded")
    stop(gateway)
