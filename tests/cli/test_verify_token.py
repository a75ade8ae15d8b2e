import hashlib
import json

import pytest

from gateway.connector import Receipt
from gateway.envelope import Message
from gateway.keys import Purpose, create_key, public_key_set, read_keys, retire_key
from gateway.receipts import Claims, Signer, location_digest

CONTENT = b"Subject: x\r\n\r\nx\r\n"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
ID = "01KAM3Y8Q0ZZ4T8QK5V1W2X3Y4"


def claims(location, type_="kafka", now=1_795_000_000):
    receipt = Receipt(id=ID, connector="events", type=type_, location=location)
    return Claims.of(receipt, Message(size=len(CONTENT), sha256=SHA256), gateway="mx.example.org", now=now)


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A directory with keys, the published ones in `keys.json`, and a mail."""
    monkeypatch.chdir(tmp_path)
    create_key(tmp_path / "keys", Purpose.RECEIPT)
    (tmp_path / "keys.json").write_text(public_key_set(read_keys(tmp_path / "keys")))
    (tmp_path / "mail.eml").write_bytes(CONTENT)
    return tmp_path


@pytest.fixture
def signer(site):
    return Signer(read_keys(site / "keys").in_use(Purpose.RECEIPT))


def test_a_receipt_is_told_in_full(mailsluice, signer):
    token = signer.sign(claims({"topic": "mail", "partition": 3, "offset": 1042}))
    outcome = mailsluice("verify", "--token", token, "--keys", "keys.json", "--file", "mail.eml")
    assert outcome.exit_code == 0
    assert outcome.stdout.splitlines() == [
        "signature  good",
        f"mail       {ID}",
        "gateway    mx.example.org",
        f"content    17 octets with the SHA-256 {SHA256}",
        'held by    kafka, {"topic":"mail","partition":3,"offset":1042}',
        "since      2026-11-18T11:06:40.000000Z at the latest",
        "file       mail.eml is this content",
    ]


def test_a_long_location_is_told_by_its_digest(mailsluice, signer):
    location = {"bucket": "mail", "key": "k" * 200}
    outcome = mailsluice("verify", "--token", signer.sign(claims(location, "s3")), "--keys", "keys.json")
    assert outcome.exit_code == 0
    assert f"held by    s3, a location with the SHA-256 {location_digest(location).hex()}" in outcome.stdout
    assert outcome.stdout.endswith("file       not compared; name the mail with --file\n")


@pytest.mark.parametrize("content", [b"", CONTENT + b"x", CONTENT[:-1] + b"x"], ids=["empty", "longer", "changed"])
def test_another_mail_is_refused(mailsluice, signer, site, content):
    (site / "mail.eml").write_bytes(content)
    token = signer.sign(claims({"path": "x"}))
    outcome = mailsluice("verify", "--token", token, "--keys", "keys.json", "--file", "mail.eml")
    assert outcome.exit_code == 1
    assert outcome.stderr.startswith("mailsluice: mail.eml is not the mail of this receipt: its SHA-256 is ")


def test_a_file_may_have_the_line_ends_of_files(mailsluice, signer, site):
    (site / "mail.eml").write_bytes(CONTENT.replace(b"\r\n", b"\n"))
    token = signer.sign(claims({"path": "x"}))
    outcome = mailsluice("verify", "--token", token, "--keys", "keys.json", "--file", "mail.eml")
    assert (outcome.exit_code, outcome.stdout.splitlines()[-1]) == (0, "file       mail.eml is this content")


def test_a_forged_receipt_is_refused(mailsluice, signer):
    header, payload, signature = signer.sign(claims({"path": "x"})).split(".")
    outcome = mailsluice("verify", "--token", f"{header}.{payload.swapcase()}.{signature}", "--keys", "keys.json")
    assert (outcome.exit_code, outcome.stdout) == (1, "")
    assert len(outcome.stderr.splitlines()) == 1


def test_a_receipt_of_another_gateway_is_refused(mailsluice, site):
    create_key(site / "other", Purpose.RECEIPT)
    token = Signer(read_keys(site / "other").in_use(Purpose.RECEIPT)).sign(claims({"path": "x"}))
    outcome = mailsluice("verify", "--token", token, "--keys", "keys.json")
    assert (outcome.exit_code, outcome.stdout) == (1, "")
    assert outcome.stderr.startswith("mailsluice: the token's key is not in the key set")


def test_what_a_retired_key_signs_afterwards_is_refused(mailsluice, signer, site):
    retire_key(site / "keys", next(iter(read_keys(site / "keys"))).name)
    published = public_key_set(read_keys(site / "keys"))
    (site / "keys.json").write_text(published)
    until = json.loads(published)["keys"][0]["exp"]
    for now, status in ((until, 0), (until + 1, 1)):
        token = signer.sign(claims({"path": "x"}, now=now))
        assert mailsluice("verify", "--token", token, "--keys", "keys.json").exit_code == status


@pytest.mark.parametrize("name", ["mail.eml", "nowhere", "keys/"])
def test_what_is_no_key_set_is_told_in_a_sentence(mailsluice, signer, name):
    outcome = mailsluice("verify", "--token", signer.sign(claims({"path": "x"})), "--keys", name)
    assert outcome.exit_code in {1, 2}
    assert outcome.stdout == ""
    assert "keys" in outcome.stderr or "cannot be read" in outcome.stderr


def test_what_a_gateway_signed_does_not_move_the_cursor(mailsluice, signer):
    token = signer.sign(claims({"path": "\x1b[2J"}, type_="\x1b[2J"))
    outcome = mailsluice("verify", "--token", token, "--keys", "keys.json")
    assert outcome.exit_code == 0
    assert "\x1b" not in outcome.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--token", "x"),
        ("--keys", "keys.json"),
        (".", "--file", "mail.eml"),
        (".", "--token", "x", "--keys", "keys.json"),
    ],
    ids=str,
)
def test_what_does_not_go_together_is_a_mistake(mailsluice, site, arguments):
    assert mailsluice("verify", *arguments).exit_code == 2
