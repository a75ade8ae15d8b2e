"""`mailsluice conformance`, against servers in threads of this process."""

import asyncio
import json
import re
import threading
from contextlib import contextmanager
from queue import SimpleQueue

import pytest

from tests.cli.peers import SECONDS, gateway
from tests.conformance.wrong_server import serving
from tests.servers.ports import free_port


@contextmanager
def wrong(*faults, protocol="smtp"):
    """A server with faults, in a thread of its own: its address."""
    started = SimpleQueue()

    async def serve():
        stopped = asyncio.Event()
        async with serving(*faults, protocol=protocol) as port:
            started.put((port, asyncio.get_running_loop(), stopped))
            await stopped.wait()

    thread = threading.Thread(target=asyncio.run, args=(serve(),), daemon=True)
    thread.start()
    port, loop, stopped = started.get(timeout=SECONDS)
    try:
        yield f"127.0.0.1:{port}"
    finally:
        loop.call_soon_threadsafe(stopped.set)
        thread.join(SECONDS)


def printed(outcome):
    """The lines of the command, without those that the gateway in this process logs."""
    return [line for line in outcome.stdout.splitlines() if not re.match(r"[0-9]{4}-", line)]


@pytest.mark.parametrize("protocol", ["smtp", "lmtp"])
def test_a_server_that_keeps_the_rules_is_told_so(mailsluice, tmp_path, protocol):
    with gateway(tmp_path, protocol) as server:
        outcome = mailsluice("conformance", server.address, "--protocol", protocol, "--to", "a@example.org")
    assert outcome.exit_code == 0, outcome.output
    *lines, summary = printed(outcome)
    assert re.fullmatch(r"[0-9]+ checks: [0-9]+ passed, 1 skipped", summary)
    assert "passed       B24          RFC 3030 §2         each chunk has one reply, 250" in lines
    assert server.mails


def test_what_a_server_does_not_offer_is_told(mailsluice, tmp_path):
    with gateway(tmp_path, disabled=("METADATA",)) as server:
        outcome = mailsluice("conformance", server.address, "--to", "a@example.org", "--section", "MD00 §3.2")
    assert outcome.exit_code == 0
    lines = printed(outcome)
    assert {line.split("  ")[0] for line in lines[:-1]} == {"not offered"}
    assert lines[-1] == f"{len(lines) - 1} checks: {len(lines) - 1} not offered"


def test_the_sender_is_the_one_that_was_given(mailsluice, tmp_path):
    with gateway(tmp_path) as server:
        options = ("--to", "a@example.org", "--from", "s@example.net", "--section", "RFC 5321 §4.1.1.4")
        assert mailsluice("conformance", server.address, *options).exit_code == 0
        senders = {mail.envelope.envelope.mail_from.address.raw for mail in server.mails}
    assert senders == {"s@example.net"}


def test_a_failure_is_shown_with_what_was_said(mailsluice):
    with wrong("RCPT comes any time") as address:
        outcome = mailsluice("conformance", address, "--to", "a@example.org", "--section", "RFC 5321 §4.1.1.3")
    assert outcome.exit_code == 1
    lines = outcome.stdout.splitlines()
    before = [line for line in lines if line.startswith("    before")]
    assert before[0] == r"    before     S: 220 wrong.example.org\r\n"
    assert before[1].startswith("    before     C: EHLO ")
    assert [line for line in lines if line not in before] == [
        "failed       -            RFC 5321 §4.1.1.3   RCPT outside a transaction is 503",
        r"    sent       RCPT TO:<a@example.org>\r\n",
        r"    came back  250 2.0.0 ok\r\n",
        "    expected   503",
        "    because    A recipient that belongs to no mail would belong to the next one.",
        "    see        RFC 5321 §4.1.1.3; RFC 5321 §4.1.4 (rcpt-before-mail)",
        "1 checks: 1 failed",
    ]


def test_advice_is_shown_and_fails_nothing(mailsluice):
    with wrong("8BITMIME is not offered", protocol="lmtp") as address:
        outcome = mailsluice("conformance", address, "--protocol", "lmtp", "--section", "RFC 2033 §5")
    assert outcome.exit_code == 0
    assert "    reason     not offered: 8BITMIME" in outcome.stdout.splitlines()
    assert outcome.stdout.endswith("2 checks: 1 passed, 1 advised\n")


def test_json_has_a_finding_on_each_line(mailsluice, tmp_path):
    with gateway(tmp_path) as server:
        outcome = mailsluice(
            "conformance", server.address, "--to", "a@example.org", "--json", "--section", "RFC 3030 §2"
        )
    findings = {finding["name"]: finding for finding in map(json.loads, printed(outcome))}
    chunk = findings["chunk"]
    assert (chunk["outcome"], chunk["rules"], chunk["level"]) == ("passed", ["B24"], "must")
    assert chunk["exchange"][1].startswith("C: EHLO ")
    assert chunk["exchange"][-1].startswith("S: 221 2.0.0 ")


def test_a_server_that_is_not_there_is_one_sentence(mailsluice):
    port = free_port()
    outcome = mailsluice("conformance", f"127.0.0.1:{port}")
    assert outcome.exit_code == 1
    assert outcome.output == f"mailsluice: there is no connection to 127.0.0.1:{port}: Connection refused\n"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nonsense"], 'HOST:PORT: "nonsense"'),
        (["127.0.0.1:25", "--to", "a b@example.org"], '--to "a b@example.org"'),
        (["127.0.0.1:25", "--to", "grün@example.org"], "--from and --to: not every server takes"),
        (["127.0.0.1:25", "--section", "RFC 1"], 'nothing is checked of "RFC 1"; there are MD00 §3'),
        (["127.0.0.1:25", "--insecure"], "add --tls starttls"),
        (["unix:/run/x", "--tls", "implicit"], "a Unix socket has no TLS"),
    ],
)
def test_a_wrong_option_is_one_sentence(mailsluice, arguments, sentence):
    outcome = mailsluice("conformance", *arguments)
    assert outcome.exit_code == 2
    assert outcome.output.startswith("mailsluice: ")
    assert sentence in outcome.output
    assert outcome.output.count("\n") == 1
