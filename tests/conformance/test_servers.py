"""What the checks find at servers that are in use: this gateway, Postfix, Exim, Dovecot, aiosmtpd."""

import asyncio
import ssl
from collections import Counter

import pytest
import trustme

from gateway.conformance import CHECKS, Outcome, Patience, Tls
from tests.conformance.targets import failed, findings, our_gateway, target
from tests.relay.servers import aiosmtpd

_ONLY_AFTER_STARTTLS = {"starttls-once"}
_LOOK_ALIKES_WITH_LF = {"data-ends-with-lf-dot-lf", "data-ends-with-lf-dot-crlf", "data-ends-with-crlf-dot-lf"}


def outcomes(found):
    return Counter(finding.outcome for finding in found.values())


def skipped(found):
    return {name for name, finding in found.items() if finding.outcome is Outcome.SKIPPED}


@pytest.mark.parametrize("protocol", ["smtp", "lmtp"])
async def test_the_gateway_passes_every_check(protocol, tmp_path):
    async with our_gateway(tmp_path, protocol) as running:
        found = await findings(target(running.port, protocol))
    assert not failed(found)
    assert skipped(found) == _ONLY_AFTER_STARTTLS
    assert outcomes(found) == {Outcome.PASSED: len(found) - 1, Outcome.SKIPPED: 1}


async def test_the_gateway_passes_under_tls(tmp_path):
    authority = trustme.CA()
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("localhost").configure_cert(server)
    authority.configure_trust(client)
    tls = Tls(context=client, implicit=False, hostname="localhost")
    async with our_gateway(tmp_path, tls=server) as running:
        found = await findings(target(running.port, tls=tls))
    assert outcomes(found) == {Outcome.PASSED: len(found)}


async def test_a_recipient_that_is_refused_leaves_only_what_needs_none(tmp_path):
    """Nothing is said to have failed that could not be tried."""
    async with our_gateway(tmp_path) as running:
        found = await findings(target(running.port, recipient="nobody@elsewhere.example"))
    assert not failed(found)
    assert found["data"].outcome is Outcome.SKIPPED
    assert found["data"].came.startswith("550 5.1.1")


async def test_without_a_recipient_nothing_is_sent(tmp_path):
    async with our_gateway(tmp_path) as running:
        found = await findings(target(running.port, recipient=""))
        assert running.mails == []
    assert not failed(found)
    needing = {check.requirement.name for check in CHECKS if check.needs_recipient}
    assert skipped(found) - _ONLY_AFTER_STARTTLS == needing & found.keys()


def test_a_check_of_postfix_finds_that_it_ends_data_at_a_bare_lf(postfix):
    """Debian's configuration takes lines that end with LF, so that a dot between two of them ends the content."""
    relay = postfix("smtp", "127.0.0.1:1", {"default_transport": "discard:"})
    found = asyncio.run(findings(target(relay.port)))
    assert failed(found).keys() == _LOOK_ALIKES_WITH_LF
    assert all(found[name].outcome is Outcome.NOT_OFFERED for name in found if "container" in name)
    assert Outcome.PASSED is found["chunk-after-the-last"].outcome is found["chunks-pipelined"].outcome


@pytest.mark.parametrize("answer", ["normalize", "reject"])
def test_a_postfix_that_is_told_to_refuse_bare_lf_passes(postfix, answer):
    settings = {
        "default_transport": "discard:",
        "smtpd_forbid_bare_newline": answer,
        "smtpd_forbid_bare_newline_exclusions": "",
    }
    relay = postfix("smtp", "127.0.0.1:1", settings)
    assert not failed(asyncio.run(findings(target(relay.port))))


def test_aiosmtpd_passes_what_it_offers():
    with aiosmtpd() as (_, port):
        found = asyncio.run(findings(target(port)))
    assert not failed(found)
    assert found["chunk"].outcome is Outcome.NOT_OFFERED


def test_a_check_of_exim_finds_a_code_of_its_own_and_a_reset_that_hangs(exim):
    """Exim 4.96 says 501 to unknown parameters, and after RSET between chunks it answers nothing any more."""
    server = exim()
    hanging = {"chunks-abandoned", "data-after-a-chunk"}
    found = asyncio.run(findings(target(server.port), {check.requirement.name for check in CHECKS} - hanging))
    assert failed(found).keys() == {"unknown-mail-parameter", "unknown-rcpt-parameter"}
    assert found["unknown-mail-parameter"].came.startswith("501 ")
    found = asyncio.run(findings(target(server.port, patience=Patience(reply_seconds=4)), hanging))
    assert failed(found).keys() == hanging
    for finding in found.values():
        assert finding.exchange[-4:-2] == (r"C: RSET\r\n", r"S: 250 Reset OK\r\n")
        assert finding.came == "no reply within 4 seconds"


def test_a_check_of_dovecot_finds_a_reply_too_many_and_lines_that_end_with_lf(dovecot):
    """Dovecot 2.3 answers BDAT LAST also where nobody was accepted, and takes a dot between two LF for the end."""
    found = asyncio.run(findings(target(dovecot(["a"]).port, "lmtp")))
    assert failed(found).keys() == {"lmtp-last-chunk-without-recipients", *_LOOK_ALIKES_WITH_LF}
    assert found["lmtp-last-chunk-without-recipients"].came.startswith("503 5.5.0")
    assert found["lmtp-data"].outcome is found["lmtp-last-chunk"].outcome is Outcome.PASSED
