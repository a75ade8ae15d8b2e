"""`mailsluice verify --receipt`: a receipt is worth what the destination confirms."""

import asyncio
import hashlib

import pytest
from msgspec import structs

from connectors.directory import DirectoryConnector, DirectorySettings
from gateway.envelope import Content, Mail
from gateway.testing import plain_mail, sample_mails

SECRET = "whsec_cmVwbGFjZS10aGlzLWJ5LXlvdXItb3duLXNlY3JldA=="


@pytest.fixture
def archives(tmp_path):
    """Two archives with a mail each, and their configuration: its path, and each mail's id, path and file."""
    config = tmp_path / "mailsluice.toml"
    tables = [
        '[[listener]]\nname = "in"\nprotocol = "smtp"\nbind = "127.0.0.1:0"\n',
        *(
            f'[[connector]]\nname = "{name}"\ntype = "directory"\npath = "{tmp_path / name}"\n'
            for name in ("one", "two")
        ),
        f'[[connector]]\nname = "hook"\ntype = "http"\nurl = "http://127.0.0.1:9/"\nsecrets = ["{SECRET}"]\n',
        '[[route]]\nrecipients = ["*"]\nconnectors = ["one", "two", "hook"]\n',
    ]
    config.write_text("\n".join(tables))
    first, second, *rest = sample_mails().values()
    stored = [(mail.envelope.id, _store(tmp_path / name, mail)) for name, mail in (("one", first), ("two", second))]
    for mail in rest:
        mail.content.close()
    return config, [
        (id_, place, tmp_path / name / place) for (id_, place), name in zip(stored, ("one", "two"), strict=True)
    ]


def _store(path, mail):
    async def store():
        connector = DirectoryConnector(DirectorySettings(name="archive", type="directory", path=path))
        await connector.open()
        receipt = await connector.emit(mail)
        await connector.close()
        mail.content.close()
        return receipt.location["path"]

    return asyncio.run(store())


def confirmed(outcome, id_):
    lines = outcome.stdout.splitlines()
    return outcome.exit_code == 0 and any(line.startswith(f"mail       {id_}, received ") for line in lines)


def sentence(outcome):
    (line,) = outcome.stderr.splitlines()
    return line.removeprefix("mailsluice: ")


def test_a_receipt_is_confirmed_by_the_connector_that_has_the_mail(archives, mailsluice):
    config, mails = archives
    for name, (id_, place, file) in zip(("one", "two"), mails, strict=True):
        for text in (f"[DIRECTORY {place}]", f"[ID {id_}] [directory {place}] {id_} accepted"):
            outcome = mailsluice("verify", "--receipt", text, "--config", config, "--file", file)
            assert confirmed(outcome, id_), outcome.output
            assert f"held by    {name}" in outcome.stdout.splitlines()
            assert outcome.stdout.endswith(f"file       {file} is this mail\n")


def test_a_file_may_have_the_line_ends_of_files(archives, mailsluice, tmp_path):
    config, ((_, place, stored), _) = archives
    file = tmp_path / "letter.eml"
    file.write_bytes(stored.read_bytes().replace(b"\r\n", b"\n"))
    assert mailsluice("verify", "--receipt", f"[DIRECTORY {place}]", "-c", config, "--file", file).exit_code == 0


@pytest.mark.parametrize("content", [b"From: a\n\none\n", b"From: a\r\n\r\none\rtwo\n"], ids=["LF", "CR"])
def test_a_content_without_line_ends_of_mail_is_compared_as_it_is(archives, tmp_path, mailsluice, content):
    config, _ = archives
    mail = plain_mail()
    mail.content.close()
    message = structs.replace(mail.envelope.message, size=len(content), sha256=hashlib.sha256(content).hexdigest())
    place = _store(tmp_path / "one", Mail(structs.replace(mail.envelope, message=message), Content(content)))
    file = tmp_path / "one" / place
    outcome = mailsluice("verify", "--receipt", f"[DIRECTORY {place}]", "-c", config, "--file", file)
    assert (outcome.exit_code, outcome.stderr) == (0, "")


def test_without_a_file_it_is_said_that_none_was_compared(archives, mailsluice):
    config, ((_, place, _), _) = archives
    outcome = mailsluice("verify", "--receipt", f"[DIRECTORY {place}]", "-c", config)
    assert outcome.stdout.splitlines()[-1] == "file       not compared; name the mail with --file"


def test_changed_content_does_not_confirm_a_receipt(archives, mailsluice):
    config, ((_, place, stored), _) = archives
    octets = bytearray(stored.read_bytes())
    octets[0] ^= 1
    stored.write_bytes(octets)
    outcome = mailsluice("verify", "--receipt", f"[DIRECTORY {place}]", "-c", config)
    assert outcome.exit_code == 1
    assert sentence(outcome).startswith(
        f'[DIRECTORY {place}] is not confirmed: connector "one": the content there was changed: '
    )


def test_another_file_or_another_id_does_not_confirm_it(archives, mailsluice):
    config, ((_, place, _), (other_id, _, other)) = archives
    text = f"[DIRECTORY {place}]"
    outcome = mailsluice("verify", "--receipt", text, "-c", config, "--file", other)
    assert (outcome.exit_code, "it is of another mail than the file" in sentence(outcome)) == (1, True)
    outcome = mailsluice("verify", "--receipt", f"[ID {other_id}] {text}", "-c", config)
    assert (outcome.exit_code, "the mail there has the id" in sentence(outcome)) == (1, True)


def test_a_mail_that_is_in_no_archive_is_missed_in_each(archives, mailsluice):
    config, ((id_, place, _), _) = archives
    wrong = place.replace(id_, "01" + "Z" * 24)
    outcome = mailsluice("verify", "--receipt", f"[DIRECTORY {wrong}]", "-c", config)
    assert outcome.exit_code == 1
    assert sentence(outcome) == (
        f'[DIRECTORY {wrong}] is not confirmed: connector "one": there is no such mail; '
        'connector "two": there is no such mail'
    )


@pytest.mark.parametrize("path", ["../../etc/passwd", "/etc/passwd", "2026/11/21/x.eml", '""'])
def test_a_path_that_is_none_of_an_archive_is_refused(archives, mailsluice, path):
    config, _ = archives
    outcome = mailsluice("verify", "--receipt", f"[DIRECTORY {path}]", "-c", config)
    assert (outcome.exit_code, "YYYY/MM/DD/<id>.eml" in sentence(outcome)) == (1, True)


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("[HTTP 200 x1]", "only its destination knows whether it has the mail"),
        ("[SPOOLED]", "only the spool knows whether it still has the mail; `mailsluice spool show` asks it"),
        ("[RECEIPT x]", "a signed receipt is checked by --token"),
    ],
)
def test_what_cannot_be_checked_is_said_to_be_so(archives, mailsluice, code, why):
    config, ((_, place, _), _) = archives
    line = f"receipt    {code} cannot be checked: {why}"
    outcome = mailsluice("verify", "--receipt", code, "-c", config)
    assert (outcome.exit_code, outcome.stdout.splitlines()) == (1, [line])
    outcome = mailsluice("verify", "--receipt", f"{code} [DIRECTORY {place}]", "-c", config)
    assert (outcome.exit_code, outcome.stdout.splitlines()[0]) == (0, line)


@pytest.mark.parametrize(
    "text", ["", "KAFKA mail 3 7", "[KAFKA mail 3 7]", "[DIRECTORY", "[ID x]", "[DIRECTORY a b] x"]
)
def test_what_is_no_receipt_of_this_configuration_is_refused(archives, mailsluice, text):
    config, _ = archives
    outcome = mailsluice("verify", "--receipt", text, "-c", config)
    assert (outcome.exit_code, outcome.stdout) == (1, "")
    assert sentence(outcome)


@pytest.mark.parametrize(
    "options", [("--json",), ("--token", "x"), ("--keys", "{config}"), ("{archive}",)], ids=lambda options: options[0]
)
def test_a_receipt_goes_with_nothing_else(archives, mailsluice, options):
    config, ((_, place, stored), _) = archives
    filled = [option.format(config=config, archive=stored.parent) for option in options]
    assert mailsluice("verify", "--receipt", f"[DIRECTORY {place}]", "-c", config, *filled).exit_code == 2
