"""Receipts from a gateway as it runs: asked for by `send`, confirmed by `verify`, by the installed commands."""

import pytest

from tests.cli.spools import run
from tests.end_to_end import tables
from tests.end_to_end.archives import only
from tests.end_to_end.gateway import Gateway

LETTER = "Subject: a letter\n\nhello\n"


def listeners(networks: str) -> str:
    return tables.LISTENERS.replace('bind = "', f'reply_metadata = {{ receipts = ["{networks}"] }}\nbind = "')


def send(gateway: Gateway, listener: str, *options: str, to: tuple[str, ...] = ("bob@example.org",)):
    (gateway.folder / "letter.eml").write_text(LETTER)
    recipients = [option for address in to for option in ("--to", address)]
    server = ("--server", gateway.addresses[listener], *(("--lmtp",) if listener == "lmtp" else ()))
    return run("send", "letter.eml", *server, "--from", "a@example.net", *recipients, *options, folder=gateway.folder)


def table(output: str) -> list[tuple[str, str]]:
    """Recipients and receipts, as printed."""
    heading, *rows = output[output.index("RECIPIENT ") :].splitlines()
    assert heading.split() == ["RECIPIENT", "RECEIPT"]
    return [(row.split()[0], row.split(maxsplit=1)[1]) for row in rows]


def test_every_destination_of_a_mail_gives_a_receipt_and_confirms_it(start_gateway, consumer):
    connectors = tables.directory() + tables.directory(name="copy", path="copy") + tables.http(consumer.url)
    gateway = start_gateway(
        connectors + tables.route("archive", "copy", "consumer"), listeners=listeners("127.0.0.0/8")
    )
    for listener in ("smtp", "lmtp"):
        outcome = send(gateway, listener, "--receipts")
        assert (outcome.returncode, outcome.stderr) == (0, "")
        rows = table(outcome.stdout)
        id_ = rows[0][1].removeprefix("[ID ").removesuffix("]")
        place = next((gateway.folder / "mail").rglob(f"{id_}.eml")).relative_to(gateway.folder / "mail")
        assert rows == [
            ("bob@example.org", receipt)
            for receipt in (f"[ID {id_}]", f"[DIRECTORY {place}]", f"[DIRECTORY {place}]", "[HTTP 200]")
        ]
        confirmed = run(
            *("verify", "--receipt", f"[ID {id_}] [DIRECTORY {place}] [HTTP 200]"),
            *("--config", "mailsluice.toml", "--file", "letter.eml"),
            folder=gateway.folder,
        )
        assert (confirmed.returncode, confirmed.stderr) == (0, "")
        assert "held by    archive\n" in confirmed.stdout
        assert "receipt    [HTTP 200] cannot be checked: " in confirmed.stdout


@pytest.mark.parametrize("layout", ["message", "batch"])
def test_a_mail_in_a_bucket_is_found_again_by_its_receipt(start_gateway, s3_server, layout):
    keys = (f'layout = "{layout}"', 'prefix = "in/{recipient_domain}/"')
    connector = tables.s3(s3_server, s3_server.create_bucket(), *keys)
    gateway = start_gateway(connector + tables.route("objects"), listeners=listeners("127.0.0.0/8"))
    outcome = send(gateway, "smtp", "--receipts")
    assert (outcome.returncode, outcome.stderr) == (0, "")
    ((_, id_), (_, receipt)) = table(outcome.stdout)
    command = ("verify", "--receipt", f"{id_} {receipt}", "--config", "mailsluice.toml", "--file")
    confirmed = run(*command, "letter.eml", folder=gateway.folder)
    assert (confirmed.returncode, confirmed.stderr) == (0, "")
    assert "held by    objects\n" in confirmed.stdout
    (gateway.folder / "another.eml").write_text(f"{LETTER}more\n")
    refused = run(*command, "another.eml", folder=gateway.folder)
    assert refused.returncode == 1
    assert "it is of another mail than the file" in refused.stderr


def test_a_record_is_found_again_by_its_receipt(start_gateway, kafka, topic):
    gateway = start_gateway(tables.kafka(kafka, topic) + tables.route("events"), listeners=listeners("127.0.0.0/8"))
    for offset in range(2):
        outcome = send(gateway, "lmtp", "--receipts")
        assert (outcome.returncode, outcome.stderr) == (0, "")
        ((_, id_), (_, receipt)) = table(outcome.stdout)
        assert receipt == f"[KAFKA {topic} 0 {offset}]"
        command = ("verify", "--config", "mailsluice.toml", "--file", "letter.eml", "--receipt")
        confirmed = run(*command, f"{id_} {receipt}", folder=gateway.folder)
        assert (confirmed.returncode, confirmed.stderr) == (0, "")
        assert f"mail       {id_.removeprefix('[ID ').removesuffix(']')}, received" in confirmed.stdout
    refused = run(*command, f"[KAFKA {topic} 0 2]", folder=gateway.folder)
    assert refused.returncode == 1
    assert "is not confirmed" in refused.stderr


def test_a_receipt_is_not_confirmed_when_the_mail_is_gone(start_gateway):
    gateway = start_gateway(tables.directory() + tables.route("archive"), listeners=listeners("127.0.0.0/8"))
    (_, (_, receipt)) = table(send(gateway, "lmtp", "--receipts").stdout)
    only(gateway.folder / "mail").marker.unlink()
    outcome = run("verify", "--receipt", receipt, "--config", "mailsluice.toml", folder=gateway.folder)
    assert outcome.returncode == 1
    assert outcome.stderr == (f'mailsluice: {receipt} is not confirmed: connector "archive": there is no such mail\n')


def test_a_spooled_mail_has_the_receipt_of_the_spool(start_gateway):
    routes = tables.spooled("archive", recipients="bob@example.org") + tables.route("copy")
    gateway = start_gateway(
        tables.directory() + tables.directory(name="copy", path="copy") + routes, listeners=listeners("127.0.0.0/8")
    )
    rows = table(send(gateway, "lmtp", "--receipts", to=("bob@example.org", "eve@example.org")).stdout)
    assert [receipt for recipient, receipt in rows if recipient == "bob@example.org"][1:] == ["[SPOOLED]"]
    (receipt,) = [receipt for recipient, receipt in rows if recipient == "eve@example.org"][1:]
    assert receipt.startswith("[DIRECTORY ")


def test_who_is_not_in_the_networks_is_not_offered_receipts(start_gateway):
    gateway = start_gateway(tables.directory() + tables.route("archive"), listeners=listeners("192.0.2.0/24"))
    outcome = send(gateway, "smtp", "--receipts")
    assert outcome.returncode == 1
    assert "does not offer XREPLYMETA" in outcome.stderr
    assert "XREPLYMETA" not in outcome.stdout
    plain = send(gateway, "smtp")
    assert plain.returncode == 0
    assert "[" not in plain.stdout
