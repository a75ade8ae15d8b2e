"""The first mail that a new user sends, and what is left of it."""

import subprocess
from pathlib import Path

import pytest

from gateway.codec import bmtd
from tests.end_to_end import tables
from tests.end_to_end.archives import only
from tests.end_to_end.gateway import MAILSLUICE

MAIL = b"From: Ann <ann@example.net>\nTo: Bob <bob@example.org>\nSubject: hello\n\nGr\xc3\xbc\xc3\x9fe\n.\n"
TRACE = b"Received: from a.example by b.example; Fri, 21 Nov 2026 10:00:00 +0000\n"
UNKNOWN = bytes(range(256))


def run(*arguments, folder):
    return subprocess.run(
        [MAILSLUICE, *arguments], cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )


@pytest.fixture
def gateway(start_gateway):
    return start_gateway(tables.directory() + tables.route("archive"))


@pytest.fixture
def send(gateway):
    """`mailsluice send` of the mail with a container of each kind."""
    folder = gateway.folder
    (folder / "hello.eml").write_bytes(MAIL)
    (folder / "trace.txt").write_bytes(TRACE)
    (folder / "unknown.bin").write_bytes(UNKNOWN)

    def send(*options, server="smtp"):
        metadata = ("--trace", "trace.txt", "--keyword", "$Forwarded", "--container", "4711:unknown.bin")
        to = ("--from", "ann@example.net", "--to", "bob@example.org", "--server", gateway.addresses[server])
        return run("send", "hello.eml", *to, *metadata, *options, folder=folder)

    return send


@pytest.mark.parametrize(("server", "options"), [("smtp", ()), ("lmtp", ("--lmtp",))])
def test_what_send_sends_is_archived_with_its_metadata(gateway, send, server, options):
    sent = send(*options, server=server)
    assert sent.returncode == 0, sent.stdout + sent.stderr
    mail = only(gateway.folder / "mail")
    assert f"250 2.0.0 {mail.envelope.id} accepted" in sent.stdout
    assert mail.content == MAIL.replace(b"\n", b"\r\n")
    own, *received = bmtd.decode(mail.marker.with_suffix(".bmtd").read_bytes())
    assert own.data.startswith(b"Received: from ")
    assert mail.envelope.id.encode() in own.data
    expected = [(0, TRACE.replace(b"\n", b"\r\n")), (1, b"$Forwarded"), (4711, UNKNOWN)]
    assert [(container.type, container.data) for container in received] == expected
    assert mail.envelope.metadata.keywords == ("$Forwarded",)
    verified = run("verify", "mail", folder=gateway.folder)
    assert (verified.returncode, verified.stdout) == (0, f"mails: 1, octets: {len(mail.content)}, damaged: 0\n")


@pytest.mark.parametrize("suffix", [".eml", ".bmtd"])
def test_verify_finds_a_flipped_bit(gateway, send, suffix):
    send()
    file: Path = only(gateway.folder / "mail").marker.with_suffix(suffix)
    octets = bytearray(file.read_bytes())
    octets[-5] ^= 1
    file.write_bytes(octets)
    verified = run("verify", "mail", folder=gateway.folder)
    assert verified.returncode == 1
    assert file.stem in verified.stdout
    assert verified.stdout.endswith("damaged: 1\n")


def test_send_is_told_who_is_refused(gateway, send):
    sent = send("--to", "nobody@example.com")
    assert sent.returncode == 1
    assert "550 5.1.1" in sent.stdout
    assert [recipient.address.raw for recipient in only(gateway.folder / "mail").envelope.envelope.recipients] == [
        "bob@example.org"
    ]
