"""A server that breaks a rule is told so by the check of that rule."""

import ssl

import pytest
import trustme

from gateway.conformance import REQUIREMENTS, Outcome, Tls
from tests.conformance.targets import IMPATIENT, failed, findings, target
from tests.conformance.wrong_server import serving

# What is wrong with a server, and the checks that must notice.
FAULTS = {
    "HELO is unknown": {"helo"},
    "a hello needs no name": {"hello-without-a-name"},
    "a hello resets nothing": {"hello-again"},
    "verbs have a case": {"verbs-in-any-case", "chunk-in-any-case", "container-in-any-case"},
    "NOOP is unknown": {"noop"},
    "QUIT does not end the session": {"quit"},
    "QUIT needs a hello": {"quit-before-a-hello"},
    "RSET resets nothing": {"rset"},
    "an unknown verb ends the session": {"unknown-verb"},
    "unknown parameters are ignored": {"unknown-mail-parameter", "unknown-rcpt-parameter"},
    "RCPT comes any time": {"rcpt-before-mail"},
    "MAIL may be nested": {"nested-mail"},
    "DATA needs no recipient": {"data-without-recipients"},
    "two replies to the content": {"data"},
    "content is not read": {"data-with-commands-in-it"},
    r"b'\n.\n' ends DATA": {"data-ends-with-lf-dot-lf"},
    r"b'\n.\r\n' ends DATA": {"data-ends-with-lf-dot-crlf"},
    r"b'\r\n.\n' ends DATA": {"data-ends-with-crlf-dot-lf"},
    r"b'\r.\r' ends DATA": {"data-ends-with-cr-dot-cr"},
    "input behind a command is lost": {"pipelined-commands"},
    "input behind a chunk is lost": {"chunks-pipelined", "containers-pipelined", "chunks-behind-a-refused-one"},
    "input behind the content is lost": {"pipelined-behind-data"},
    "BODY is unknown": {"body-8bitmime"},
    "only the last chunk is answered": {"chunks", "container"},
    "LAST is refused": {"chunk", "chunk-of-no-octets-at-the-end", "container-of-no-octets"},
    "a refused payload is not read": {
        *("chunk-after-the-last", "chunk-without-mail", "chunk-without-recipients", "chunks-behind-a-refused-one"),
        *("container-after-the-last", "container-without-mail", "container-without-recipients"),
    },
    "stray chunks are taken": {"chunk-after-the-last", "chunk-without-mail", "container-without-recipients"},
    "a dot ends a chunk": {"chunk-with-commands-in-it", "container-with-commands-in-it"},
    "RSET is refused among chunks": {"chunks-abandoned"},
    "DATA goes with chunks": {"data-after-a-chunk", "data-after-a-container"},
    "DATA is gone": {"data-and-chunks-in-turn"},
    "any size is taken": {"chunk-size-is-no-number", "container-size-is-no-number"},
    "any line is taken": {"line-of-any-octets"},
    "DATA goes with BINARYMIME": {"binarymime-rules-data-out"},
    "BINARYMIME is text": {"binarymime"},
    "type 0 comes once": {"containers-of-trace"},
    "unknown types are refused": {"container-of-an-unknown-type"},
    "unknown keywords are refused": {"keywords-that-are-not-supported"},
    "BMTD 0 is refused": {"container-of-no-octets"},
    "one octet is a container": {"container-of-one-octet", "containers-behind-a-refused-one"},
    "BMTD comes before BDAT": {"containers-among-chunks"},
    "keywords outlive RSET": {"containers-abandoned"},
    "lines end with LF": {"reply-lines"},
    "long lines": {"reply-lines"},
    "no status codes": {"status-codes"},
    "status codes of the wrong class": {"status-codes"},
    "a keyword is none": {"hello-lines"},
    "CHUNKING is not offered": {"metadata-comes-with-chunking", "binarymime-comes-with-chunking"},
    "8BITMIME is not offered": {"smtputf8-comes-with-8bitmime"},
    "METADATA has a parameter": {"metadata-has-no-parameters"},
}
LMTP_FAULTS = {
    "LMTP knows EHLO": {"lmtp-hello"},
    "LMTP answers DATA with 554": {"lmtp-data-without-recipients"},
    "LMTP answers once": {"lmtp-data", "lmtp-last-chunk", "lmtp-last-container"},
    "LMTP answers for nobody": {"lmtp-last-chunk-without-recipients"},
    "PIPELINING is not offered": {"lmtp-offers-pipelining-and-status-codes"},
    "8BITMIME is not offered": {"lmtp-offers-8bitmime"},
}
_UNDER_TLS = {"starttls-once"}


def test_every_requirement_has_a_server_that_breaks_it():
    broken = set().union(*FAULTS.values(), *LMTP_FAULTS.values(), _UNDER_TLS)
    assert {requirement.name for requirement in REQUIREMENTS} == broken


@pytest.mark.parametrize("protocol", ["smtp", "lmtp"])
async def test_a_server_without_a_fault_passes(protocol):
    async with serving(protocol=protocol) as port:
        found = await findings(target(port, protocol))
    assert {name: finding.outcome for name, finding in found.items()} == {
        name: Outcome.SKIPPED if name in _UNDER_TLS else Outcome.PASSED for name in found
    }


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_of_an_smtp_server_is_found(fault):
    async with serving(fault) as port:
        # NOOP so that something is heard.
        found = failed(await findings(target(port, patience=IMPATIENT), {"noop", *FAULTS[fault]}))
    assert FAULTS[fault] <= found.keys(), found


@pytest.mark.parametrize("fault", LMTP_FAULTS)
async def test_a_fault_of_an_lmtp_server_is_found(fault):
    async with serving(fault, protocol="lmtp") as port:
        found = failed(await findings(target(port, "lmtp", patience=IMPATIENT), LMTP_FAULTS[fault]))
    assert LMTP_FAULTS[fault] <= found.keys(), found


@pytest.mark.parametrize(("faults", "outcome"), [((), "passed"), (("STARTTLS is offered again",), "failed")])
async def test_what_is_offered_under_tls_is_looked_at(faults, outcome):
    authority = trustme.CA()
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("localhost").configure_cert(server)
    authority.configure_trust(client)
    tls = Tls(context=client, implicit=False, hostname="localhost")
    async with serving(*faults, tls=server) as port:
        found = await findings(target(port, tls=tls))
    assert outcome == found.pop("starttls-once").outcome
    assert {"passed"} == {finding.outcome for finding in found.values()}


async def test_advice_that_is_not_taken_is_no_failure():
    async with serving("8BITMIME is not offered", protocol="lmtp") as port:
        found = await findings(target(port, "lmtp"), ["lmtp-offers-8bitmime"])
    assert found["lmtp-offers-8bitmime"].outcome is Outcome.ADVISED


async def test_a_failure_says_what_was_sent_what_came_and_what_is_demanded():
    async with serving("RCPT comes any time") as port:
        found = (await findings(target(port), ["rcpt-before-mail"]))["rcpt-before-mail"]
    assert (found.sent, found.came, found.expected) == (r"RCPT TO:<a@example.org>\r\n", r"250 2.0.0 ok\r\n", "503")
    assert found.sources == ("RFC 5321 §4.1.1.3", "RFC 5321 §4.1.4")
    assert found.why
    assert found.exchange[-2:] == (r"C: RCPT TO:<a@example.org>\r\n", r"S: 250 2.0.0 ok\r\n")
