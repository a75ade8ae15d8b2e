"""Several workers are one gateway: to its clients, to its operator, and to the mail that it has accepted."""

import json
import os
import signal
import smtplib
import socket
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.app.gateway_process import GatewayProcess, run
from tests.servers.ports import free_port

SECONDS = 30
CONFIGURATION = """
[gateway]
hostname = "mx.example.org"
workers = 2
drain_seconds = 10
[[listener]]
name = "mx"
protocol = "smtp"
bind = "127.0.0.1:0"
[[listener]]
name = "backend"
protocol = "lmtp"
bind = "unix:lmtp.sock"
[[connector]]
name = "archive"
type = "directory"
path = "mail"
[[route]]
recipients = ["*@example.org"]
connectors = ["archive"]
accept = "spooled"
"""
# Nobody listens there.
CONSUMER = '"http"\nurl = "http://127.0.0.1:9/"\nsecrets = ["whsec_cmVwbGFjZS10aGlzLWJ5LXlvdXItb3duLXNlY3JldA=="]'
UNREACHABLE = CONFIGURATION.replace('"directory"\npath = "mail"', CONSUMER)
# By then each of two workers has one, but for once in a million million runs.
CONNECTIONS = 40


@pytest.fixture
def path(tmp_path):
    return write(tmp_path, CONFIGURATION)


@pytest.fixture
def gateway(path, tmp_path):
    with GatewayProcess("--config", path, folder=tmp_path) as process:
        yield process


def write(folder, text):
    path = folder / "mailsluice.toml"
    path.write_text(text)
    return path


def processes(gateway):
    """The workers' process ids."""
    return [int(each) for each in Path(f"/proc/{gateway.pid}/task/{gateway.pid}/children").read_text().split()]


def send(address, *, mails=1, recipient="b@example.org"):
    with smtplib.SMTP(*address, timeout=SECONDS) as client:
        for _ in range(mails):
            assert client.sendmail("a@example.net", [recipient], b"Subject: x\r\n\r\nx\r\n") == {}


def send_to_both(gateway):
    for _ in range(CONNECTIONS):
        send(gateway.address("mx"))


def wait_until(holds):
    deadline = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)  # no other process tells


def archived(folder):
    return len(list(folder.glob("mail/**/*.json")))


def records(gateway, event):
    lines = [json.loads(line) for line in gateway.output if line.startswith("{")]
    return [line for line in lines if line["event"] == event]


def retry_everything(folder):
    """Let mail not wait for its time."""
    assert run("spool", "retry", "--all", "--spool", "spool", folder=folder).returncode == 0


def stop(gateway):
    gateway.signal(signal.SIGTERM)
    assert gateway.wait() == 0


def test_mail_comes_in_and_is_delivered_by_both_and_the_gateway_is_ready_once(gateway, tmp_path):
    assert set(gateway.addresses) == {"mx", "backend"}
    send_to_both(gateway)
    wait_until(lambda: archived(tmp_path) == CONNECTIONS)
    stop(gateway)
    for event in ("mail", "delivered"):
        assert {line["worker"] for line in records(gateway, event)} == {0, 1}
    assert sum("ready" in line for line in gateway.output) == 1
    assert sum(" on " in line for line in gateway.output) == 2
    assert "worker" not in json.loads(gateway.output[-1])
    assert {each.name for each in (tmp_path / "spool").iterdir()} >= {"spool.db", "worker-1"}


def test_one_worker_is_one_process_whose_log_names_none(tmp_path):
    path = write(tmp_path, CONFIGURATION.replace("workers = 2", "workers = 1"))
    with GatewayProcess("--config", path, folder=tmp_path) as gateway:
        assert processes(gateway) == []
        send(gateway.address("mx"))
        stop(gateway)
    assert "worker" not in records(gateway, "mail")[0]


def test_a_unix_socket_is_taken_from_by_the_workers_and_gone_at_the_end(gateway, tmp_path):
    place = tmp_path / "lmtp.sock"
    for _ in range(10):
        with smtplib.LMTP(str(place)) as client:
            assert client.sendmail("a@example.net", ["b@example.org"], b"\r\n") == {}
    stop(gateway)
    assert not place.exists()


def test_the_supervisor_has_no_threads(gateway):
    assert len(list(Path(f"/proc/{gateway.pid}/task").iterdir())) == 1


def test_a_worker_that_is_killed_loses_nothing_and_comes_back(tmp_path):
    path = write(tmp_path, UNREACHABLE)
    with GatewayProcess("--config", path, folder=tmp_path) as gateway:
        send_to_both(gateway)
        before = processes(gateway)
        for victim in before:
            os.kill(victim, signal.SIGKILL)
            gateway.read_until("a worker has ended")
            # The other one is there all the time.
            send(gateway.address("mx"))
            gateway.read_until("a worker is back")
        assert not set(processes(gateway)) & set(before)
        listed = run("spool", "ls", "--json", "--spool", "spool", folder=tmp_path)
        assert len(listed.stdout.splitlines()) == CONNECTIONS + 2
        stop(gateway)
    assert [line["cause"] for line in records(gateway, "alarm: a worker has ended; it is started again")] == [
        "was ended by signal 9"
    ] * 2


def test_workers_end_when_their_supervisor_is_killed_and_the_next_gateway_has_their_mail(tmp_path):
    path = write(tmp_path, UNREACHABLE)
    with GatewayProcess("--config", path, folder=tmp_path) as gateway:
        send_to_both(gateway)
        workers = processes(gateway)
        gateway.signal(signal.SIGKILL)
        wait_until(lambda: not any(Path(f"/proc/{worker}").exists() for worker in workers))
    write(tmp_path, CONFIGURATION)
    with GatewayProcess("--config", path, folder=tmp_path) as gateway:
        retry_everything(tmp_path)
        wait_until(lambda: archived(tmp_path) == CONNECTIONS)
        stop(gateway)


@contextmanager
def in_the_middle_of_a_mail(address):
    with smtplib.SMTP(*address, timeout=SECONDS) as client:
        client.ehlo()
        client.mail("a@example.net")
        client.rcpt("b@example.org")
        assert client.docmd("DATA")[0] == 354
        yield client


def refuses(address):
    try:
        socket.create_connection(address).close()
    except ConnectionRefusedError:
        return True
    return False


def test_mail_under_way_is_taken_before_the_workers_end(gateway, tmp_path):
    with in_the_middle_of_a_mail(gateway.address("mx")) as client:
        gateway.signal(signal.SIGTERM)
        for _ in range(3):
            gateway.read_until('"stopping"')
        # It is said before it is done.
        wait_until(lambda: refuses(gateway.address("mx")))
        client.send(b"Subject: late\r\n\r\n.\r\n")
        assert client.getreply()[0] == 250
        assert client.getreply()[0] == 421
        client.close()
    assert gateway.wait() == 0
    assert json.loads(gateway.output[-1])["event"] == "stopped"


def test_a_second_signal_ends_the_patience(tmp_path):
    path = write(tmp_path, CONFIGURATION.replace("drain_seconds = 10", "drain_seconds = 90"))
    with (
        GatewayProcess("--config", path, folder=tmp_path) as gateway,
        in_the_middle_of_a_mail(gateway.address("mx")) as client,
    ):
        gateway.signal(signal.SIGTERM)
        for _ in range(3):
            gateway.read_until('"stopping"')
        began = time.monotonic()
        gateway.signal(signal.SIGTERM)
        assert gateway.wait() == 0
        assert time.monotonic() - began < 5
        client.close()


def test_one_signal_to_every_process_of_the_service_is_one_signal(gateway):
    with in_the_middle_of_a_mail(gateway.address("mx")) as client:
        for process in (*processes(gateway), gateway.pid):
            os.kill(process, signal.SIGTERM)
        for _ in range(3):
            gateway.read_until('"stopping"')
        client.send(b"Subject: late\r\n\r\n.\r\n")
        assert client.getreply()[0] == 250
        client.close()
    assert gateway.wait() == 0


def reload(gateway, path, text):
    path.write_text(text)
    gateway.signal(signal.SIGHUP)
    return json.loads(gateway.read_until("reloaded")[-1])


def test_a_new_configuration_is_taken_by_every_worker_and_said_once(gateway, path, tmp_path):
    line = reload(gateway, path, CONFIGURATION.replace("example.org", "example.com"))
    assert line["event"] == "configuration reloaded"
    assert "worker" not in line
    for _ in range(CONNECTIONS):
        send(gateway.address("mx"), recipient="b@example.com")
    stop(gateway)
    assert len(records(gateway, "configuration reloaded")) == 1
    assert {line["worker"] for line in records(gateway, "mail")} == {0, 1}


def test_a_listener_that_is_new_is_shared_and_one_that_is_gone_is_closed(gateway, path, tmp_path):
    old = gateway.address("mx")
    text = CONFIGURATION.replace('"mx"', '"new"').replace("unix:lmtp.sock", "unix:other.sock")
    path.write_text(text)
    gateway.signal(signal.SIGHUP)
    lines = [line for line in gateway.read_until("reloaded") if " on " in line]
    assert [line.split()[3] for line in lines] == ["(new)", "(backend)"]
    host, _, port = lines[0].split()[2].rpartition(":")
    for _ in range(CONNECTIONS):
        send((host, int(port)))
    with pytest.raises(OSError, match=r"refused|reset|closed"):
        smtplib.SMTP(*old)
    assert not (tmp_path / "lmtp.sock").exists()
    with smtplib.LMTP(str(tmp_path / "other.sock")) as client:
        assert client.ehlo("x")[0] == 250
    stop(gateway)
    assert {line["worker"] for line in records(gateway, "mail")} == {0, 1}


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("", "listener: is missing"),
        (CONFIGURATION.replace("workers = 2", "workers = 3"), "`gateway.workers` cannot change"),
        (CONFIGURATION.replace('"mail"', '"/dev/null/mail"'), "cannot be opened"),
        (CONFIGURATION.replace("workers = 2", 'workers = 2\nkeys = "absent"'), "`gateway.keys`"),
    ],
    ids=["empty", "other number of workers", "connector that does not open", "no keys"],
)
def test_what_is_broken_changes_nobody(gateway, path, text, cause):
    assert cause in reload(gateway, path, text)["cause"]
    send_to_both(gateway)
    assert reload_until_taken(gateway, path)["event"] == "configuration reloaded"
    assert len(records(gateway, "alarm: the configuration was not reloaded; the old one stays")) == 1


def reload_until_taken(gateway, path):
    path.write_text(CONFIGURATION)
    gateway.signal(signal.SIGHUP)
    return json.loads(gateway.read_until("configuration reloaded")[-1])


def test_a_worker_that_comes_back_has_the_configuration_of_the_others(gateway, path, tmp_path):
    reload(gateway, path, CONFIGURATION.replace("example.org", "example.com"))
    for victim in processes(gateway):
        os.kill(victim, signal.SIGKILL)
        gateway.read_until("a worker is back")
    for _ in range(CONNECTIONS):
        send(gateway.address("mx"), recipient="b@example.com")


WAITS = """
import asyncio, os, pathlib, sample_connectors
async def open(self):
    with pathlib.Path("openings").open("a") as openings:
        print(os.getpid(), file=openings)
    while pathlib.Path("shut").exists():
        await asyncio.sleep(0.01)
sample_connectors.Sample.open = open
"""


def test_a_worker_that_comes_back_in_the_middle_of_a_reload_takes_the_new_configuration_too(tmp_path):
    def openings():
        return len((tmp_path / "openings").read_text().splitlines())

    def is_taken_by_all():
        try:
            for _ in range(CONNECTIONS):
                send(gateway.address("mx"), recipient="b@example.com")
        except smtplib.SMTPRecipientsRefused:
            return False
        return True

    sample = CONFIGURATION.replace('"directory"\npath = "mail"', '"sample"')
    path = write(tmp_path, sample)
    with GatewayProcess("--config", path, folder=tmp_path, prelude=WAITS) as gateway:
        (tmp_path / "shut").touch()
        os.kill(processes(gateway)[0], signal.SIGKILL)
        wait_until(lambda: openings() == 3)
        path.write_text(sample.replace("example.org", "example.com"))
        gateway.signal(signal.SIGHUP)
        # The other one has begun to reload.
        wait_until(lambda: openings() == 4)
        (tmp_path / "shut").unlink()
        wait_until(is_taken_by_all)


def test_fewer_workers_deliver_what_the_others_have_left(tmp_path):
    path = write(tmp_path, UNREACHABLE.replace("workers = 2", "workers = 3"))
    with GatewayProcess("--config", path, folder=tmp_path) as gateway:
        send_to_both(gateway)
        stop(gateway)
    for workers in (2, 1):
        write(tmp_path, UNREACHABLE.replace("workers = 2", f"workers = {workers}"))
        with GatewayProcess("--config", path, folder=tmp_path) as gateway:
            stop(gateway)
    write(tmp_path, CONFIGURATION.replace("workers = 2", "workers = 1"))
    with GatewayProcess("--config", path, folder=tmp_path) as gateway:
        retry_everything(tmp_path)
        wait_until(lambda: archived(tmp_path) == CONNECTIONS)
        stop(gateway)
    told = records(gateway, "the mail of a worker that is no more is delivered from its spool")
    assert [line["spool"] for line in told] == ["spool/worker-1", "spool/worker-2"]
    with GatewayProcess("--config", path, folder=tmp_path) as gateway:
        stop(gateway)
    # Nothing is in them any more.
    assert not records(gateway, "the mail of a worker that is no more is delivered from its spool")


def test_the_spool_commands_are_for_all_workers_while_they_run(tmp_path):
    path = write(tmp_path, UNREACHABLE)
    with GatewayProcess("--config", path, folder=tmp_path) as gateway:
        send_to_both(gateway)
        listed = run("spool", "ls", "--json", "--config", path, folder=tmp_path)
        ids = [json.loads(line)["id"] for line in listed.stdout.splitlines()]
        assert len(set(ids)) == CONNECTIONS
        assert (
            f"messages: {CONNECTIONS}, deliveries: {CONNECTIONS} "
            in run("spool", "ls", "--config", path, folder=tmp_path).stdout
        )
        for id_ in (ids[0], ids[-1]):
            assert "as it was received" in run("spool", "show", id_, "--config", path, folder=tmp_path).stdout
        exported = run("spool", "export", "--to", "out", "--config", path, folder=tmp_path)
        assert exported.stdout.startswith(f"messages: {CONNECTIONS}, exported: {CONNECTIONS}, failed: 0")
        retry_everything(tmp_path)
        stop(gateway)


def refusal(folder, text):
    """What `serve` says when it does not start: one line."""
    outcome = run("serve", "--config", write(folder, text), folder=folder)
    assert outcome.returncode == 1
    assert outcome.stderr.count("\n") == 1, outcome.stderr
    return outcome.stderr.removesuffix("\n")


def test_an_address_in_use_is_named_once(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        said = refusal(tmp_path, CONFIGURATION.replace("127.0.0.1:0", address))
    assert said == f'mailsluice: listener "mx" cannot listen on {address}: Address already in use'
    assert not (tmp_path / "spool").exists()


def test_an_address_that_two_listeners_have_by_two_names_is_in_use(tmp_path):
    port = free_port()
    text = CONFIGURATION.replace("127.0.0.1:0", f"127.0.0.1:{port}").replace("unix:lmtp.sock", f"localhost:{port}")
    said = refusal(tmp_path, text)
    assert said == f'mailsluice: listener "backend" cannot listen on localhost:{port}: Address already in use'


def test_another_gateway_of_the_same_user_does_not_share_the_address(gateway, tmp_path):
    host, port = gateway.address("mx")
    other = CONFIGURATION.replace("127.0.0.1:0", f"{host}:{port}").replace("lmtp.sock", "other.sock")
    other = other.replace("[gateway]", '[gateway]\nspool = "elsewhere"')
    assert "Address already in use" in refusal(tmp_path, other)
    assert "Address already in use" in refusal(tmp_path, other.replace("workers = 2", "workers = 1"))


def test_a_spool_in_use_is_named_once(gateway, tmp_path):
    said = refusal(tmp_path, CONFIGURATION.replace("lmtp.sock", "other.sock"))
    assert said.startswith("mailsluice: the spool spool")
    assert "belongs to another running mailsluice" in said
    send(gateway.address("mx"))


def test_what_a_connector_needs_from_the_operator_is_said_once(tmp_path):
    sample = CONFIGURATION.replace('"directory"\npath = "mail"', '"sample"\nopening = "fails"')
    assert refusal(tmp_path, sample) == 'mailsluice: connector "archive" cannot be opened: the password is wrong'


def test_long_lines_of_several_workers_are_whole(gateway):
    gateway.narrow_output()
    recipients = [f"{'x' * 60}{number}@example.org" for number in range(90)]
    clients = [smtplib.SMTP(*gateway.address("mx"), timeout=SECONDS) for _ in range(20)]
    for _ in range(10):
        for client in clients:
            assert client.sendmail("a@example.net", recipients, b"\r\n") == {}
    for client in clients:
        client.close()
    # Not only at the end, when lines are written for a second at most.
    for _ in range(200):
        gateway.read_until('"event": "mail"')
    stop(gateway)
    # Each is JSON as a whole, or it would have raised.
    mails = records(gateway, "mail")
    assert len(mails) == 200
    assert {line["worker"] for line in mails} == {0, 1}
