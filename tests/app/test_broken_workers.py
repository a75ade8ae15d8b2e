"""Workers and supervisors in trouble: what hangs, what cannot be started, what is refused, and what nobody reads."""

import json
import os
import resource
import signal
import socket
import time
from pathlib import Path

import pytest

from gateway.app import StartError
from gateway.app.channel import Address, Channel
from gateway.app.places import Places
from gateway.config import read
from tests.app.gateway_process import GatewayProcess, run
from tests.app.test_workers import CONFIGURATION, processes, records, reload, send_to_both, stop, wait_until, write
from tests.servers.ports import free_port

QUICK = CONFIGURATION.replace("drain_seconds = 10", "drain_seconds = 1")
SAMPLE = QUICK.replace('"directory"\npath = "mail"', '"sample"')
OTHER_ADDRESSES = ('"mx"', '"new"'), ("lmtp.sock", "other.sock")
# Whoever opens the connector says so, and waits as long as there is a file that is called shut.
WAITS = """
import asyncio, os, pathlib, sample_connectors
open_at_once = sample_connectors.Sample.open
async def open(self):
    with pathlib.Path("openings").open("a") as openings:
        print(os.getpid(), file=openings)
    while pathlib.Path("shut").exists():
        await asyncio.sleep(0.01)
    await open_at_once(self)
sample_connectors.Sample.open = open
"""
LONG_CAUSE = """
import sample_connectors
async def open(self):
    cause = "long " * 30_000
    raise sample_connectors.PermanentFailure(sample_connectors.ADMINISTRATIVE_REFUSAL, "not available", cause=cause)
sample_connectors.Sample.open = open
"""


def elsewhere(text):
    for old, new in OTHER_ADDRESSES:
        text = text.replace(old, new)
    return text


def openings(folder):
    return (folder / "openings").read_text().splitlines()


def descriptors(pid):
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def allow_descriptors(pid, number):
    """Of what a process may have, only the soft limit is changed; what it was is returned."""
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (number, hard))
    return soft


def has_stopped(pid):
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].startswith("T")


def hang(pid):
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: has_stopped(pid))


def test_a_worker_that_hangs_is_not_waited_for_longer_than_the_drain(tmp_path):
    with GatewayProcess("--config", write(tmp_path, QUICK), folder=tmp_path) as gateway:
        hang(processes(gateway)[0])
        began = time.monotonic()
        gateway.signal(signal.SIGTERM)
        assert gateway.wait() == 1
        assert time.monotonic() - began < 15
    (line,) = records(gateway, "a worker did not end in good order")
    assert line["cause"] == "it did not end in time, and was killed"


def test_a_supervisor_that_cannot_start_a_worker_tries_again(tmp_path):
    with GatewayProcess("--config", write(tmp_path, QUICK), folder=tmp_path) as gateway:
        before = allow_descriptors(gateway.pid, descriptors(gateway.pid) - 1)
        os.kill(processes(gateway)[0], signal.SIGKILL)
        gateway.read_until("cannot be started: Too many open files")
        allow_descriptors(gateway.pid, before)
        gateway.read_until("a worker is back")
        send_to_both(gateway)
        stop(gateway)


def test_a_supervisor_without_descriptors_keeps_its_configuration(tmp_path):
    path = write(tmp_path, QUICK)
    with GatewayProcess("--config", path, folder=tmp_path) as gateway:
        before = allow_descriptors(gateway.pid, descriptors(gateway.pid))
        assert "Too many open files" in reload(gateway, path, elsewhere(QUICK))["cause"]
        allow_descriptors(gateway.pid, before)
        assert reload(gateway, path, elsewhere(QUICK))["event"] == "configuration reloaded"
        stop(gateway)


def test_an_address_that_comes_to_who_has_no_descriptors_for_it_is_refused():
    config = read(QUICK.replace("unix:lmtp.sock", "127.0.0.1:1"), source="test.toml")
    ours, theirs = Channel.pair()
    with socket.socket() as one, socket.socket() as two:
        ours.send_places(Places({"127.0.0.1:1": (one, two)}))
        free = os.dup(0)
        os.close(free)
        before = allow_descriptors(os.getpid(), free + 1)
        received = theirs.receive()
        allow_descriptors(os.getpid(), before)
    ours.close()
    theirs.close()
    assert received == (Address("127.0.0.1:1"), ())
    with pytest.raises(StartError, match=r"cannot listen on 127\.0\.0\.1:1: Too many open files"):
        Places({"127.0.0.1:1": ()}).listen(config.listeners[1])


def test_a_worker_says_why_it_cannot_start_in_any_number_of_words(tmp_path):
    outcome = run("serve", "--config", write(tmp_path, SAMPLE), folder=tmp_path, prelude=LONG_CAUSE)
    assert outcome.returncode == 1
    assert outcome.stderr.startswith('mailsluice: connector "archive" cannot be opened: long')
    assert outcome.stderr.count("\n") == 1


def test_a_storm_of_signals_hides_no_end(tmp_path):
    path = write(tmp_path, QUICK)
    with GatewayProcess("--config", path, folder=tmp_path) as gateway:
        for _ in range(20_000):
            gateway.signal(signal.SIGHUP)
        stop(gateway)


def test_one_signal_to_every_process_while_they_start_is_no_failure(tmp_path):
    (tmp_path / "shut").touch()
    gateway = GatewayProcess("--config", write(tmp_path, SAMPLE), folder=tmp_path, prelude=WAITS)
    try:
        wait_until(lambda: (tmp_path / "openings").exists() and len(openings(tmp_path)) == 2)
        os.killpg(gateway.pid, signal.SIGTERM)
        assert gateway.wait() == 0
    finally:
        gateway.__exit__(None, None, None)
    assert records(gateway, "stopped")


def test_what_a_refused_configuration_would_have_had_is_let_go(tmp_path):
    path = write(tmp_path, SAMPLE)
    with GatewayProcess("--config", path, folder=tmp_path) as gateway:

        def open_ones():
            return [descriptors(pid) for pid in (gateway.pid, *processes(gateway))]

        reload(gateway, path, SAMPLE)
        before = open_ones()
        for _ in range(3):
            path.write_text(elsewhere(SAMPLE).replace('"sample"', '"sample"\nopening = "fails"'))
            gateway.signal(signal.SIGHUP)
            gateway.read_until("was not reloaded")
        wait_until(lambda: open_ones() == before)
        assert (tmp_path / "lmtp.sock").exists()
        assert not (tmp_path / "other.sock").exists()
        stop(gateway)


def test_a_configuration_is_taken_when_no_worker_is_there_to_take_it(tmp_path):
    path = write(tmp_path, QUICK)
    with GatewayProcess("--config", path, folder=tmp_path) as gateway:
        for victim in processes(gateway):
            os.kill(victim, signal.SIGKILL)
            gateway.read_until("a worker has ended")
        assert reload(gateway, path, elsewhere(QUICK))["event"] == "configuration reloaded"
        assert reload(gateway, path, QUICK)["event"] == "configuration reloaded"
        stop(gateway)


def test_what_all_refuse_who_are_there_changes_not_even_who_dies_meanwhile(tmp_path):
    path = write(tmp_path, SAMPLE)
    with GatewayProcess("--config", path, folder=tmp_path, prelude=WAITS) as gateway:
        (tmp_path / "shut").touch()
        path.write_text(SAMPLE.replace('"sample"', '"sample"\nopening = "fails"'))
        gateway.signal(signal.SIGHUP)
        wait_until(lambda: len(openings(tmp_path)) == 4)
        os.kill(processes(gateway)[0], signal.SIGKILL)
        gateway.read_until("a worker has ended")
        (tmp_path / "shut").unlink()
        gateway.read_until_all("was not reloaded", "a worker is back")
        send_to_both(gateway)
        stop(gateway)
    assert {line["worker"] for line in records(gateway, "mail")} == {0, 1}
    assert len(records(gateway, "alarm: a worker has ended; it is started again")) == 1


def test_a_worker_that_hangs_is_named_when_the_next_reload_waits_for_it(tmp_path):
    path = write(tmp_path, QUICK)
    with GatewayProcess("--config", path, folder=tmp_path) as gateway:
        hung = processes(gateway)[1]
        hang(hung)
        path.write_text(elsewhere(QUICK))
        gateway.signal(signal.SIGHUP)
        wait_until((tmp_path / "other.sock").exists)
        gateway.signal(signal.SIGHUP)
        line = json.loads(gateway.read_until("still under way")[-1])
        assert line["processes"]["1"] == hung
        os.kill(hung, signal.SIGKILL)
        assert json.loads(gateway.read_until("was not reloaded")[-1])["cause"] == "worker 1 was ended by signal 9"
        gateway.read_until("configuration reloaded")
        stop(gateway)


def test_a_gateway_whose_parent_ignored_the_end_of_children_hears_of_its_own(tmp_path):
    ignores = "import signal; signal.signal(signal.SIGCHLD, signal.SIG_IGN)"
    with GatewayProcess("--config", write(tmp_path, QUICK), folder=tmp_path, prelude=ignores) as gateway:
        os.kill(processes(gateway)[0], signal.SIGKILL)
        gateway.read_until("a worker is back")
        stop(gateway)


# The event loop of one worker ends in the midst of everything.
DEFECT = """
import asyncio, pathlib
from gateway.delivery import Engine
start = Engine.start
async def start_and_fail(self):
    await start(self)
    asyncio.ensure_future(fail())
async def fail():
    # Who removes the file is the one that fails, although two may have seen it.
    while True:
        try:
            pathlib.Path("fail").unlink()
        except FileNotFoundError:
            await asyncio.sleep(0.01)
        else:
            break
    asyncio.get_running_loop().stop()
Engine.start = start_and_fail
"""


def test_a_worker_with_a_defect_says_what_it_is_and_comes_back(tmp_path):
    with GatewayProcess("--config", write(tmp_path, QUICK), folder=tmp_path, prelude=DEFECT) as gateway:
        (tmp_path / "fail").touch()
        gateway.read_until("a worker is back")
        stop(gateway)
    (defect,) = records(gateway, "alarm: a defect ends the worker")
    assert "Event loop stopped" in defect["exception"]
    (ended,) = records(gateway, "alarm: a worker has ended; it is started again")
    assert (ended["worker"], ended["cause"]) == (defect["worker"], "ended with status 1")


def test_a_worker_with_a_defect_comes_back_although_nobody_reads_why(tmp_path):
    with GatewayProcess("--config", write(tmp_path, QUICK), folder=tmp_path, prelude=DEFECT) as gateway:
        before = set(processes(gateway))
        with Path(f"/proc/{gateway.pid}/fd/2").open("wb", buffering=0) as log:
            os.set_blocking(log.fileno(), False)
            while log.write(b"a line that nobody reads\n"):
                pass
        (tmp_path / "fail").touch()
        wait_until(lambda: len(processes(gateway)) == 2 and set(processes(gateway)) != before)
        gateway.read_until("a worker is back")
        stop(gateway)


def test_of_two_gateways_that_start_at_once_one_is_told_that_the_address_is_in_use():
    bind = f"127.0.0.1:{free_port()}"
    config = read(QUICK.replace("127.0.0.1:0", bind).replace("unix:lmtp.sock", "127.0.0.1:0"), source="test.toml")
    nobody = Places({})
    first = Places.reserve(config, beside=nobody)
    with pytest.raises(StartError, match=f"cannot listen on {bind}: Address already in use"):
        Places.reserve(config, beside=nobody)
    first.release(but=nobody)
    Places.reserve(config, beside=nobody).release(but=nobody)
