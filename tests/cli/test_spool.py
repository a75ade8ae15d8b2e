"""`mailsluice spool ls`, `show` and `retry` on spools that the package made."""

import json
import re

import pytest

from gateway.cli.spool_selection import DeliveryState
from gateway.spool import State
from gateway.testing import plain_mail
from tests.cli.spools import Spooled, fill, sample

HOSTILE = "no such \x1b[31muser\r\nmailsluice ready\u202e\x9b2J"


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "spool"


def objects(outcome):
    return [json.loads(line) for line in outcome.stdout.splitlines()]


def test_the_states_are_those_of_the_spool():
    assert [str(state) for state in DeliveryState] == [str(state) for state in State if state is not State.DELIVERED]


def test_a_list_has_a_line_for_each_delivery_the_paused_connectors_and_a_sum(folder, mailsluice):
    mail = sample("a thousand recipients")
    fill(
        folder,
        Spooled(mail=mail, states={"hooks": State.DEAD, "lake": State.WAITING}, status="5.1.1", cause="HTTP 404"),
        paused={"hooks": "HTTP 410"},
    )
    outcome = mailsluice("spool", "ls", "--spool", folder)
    assert outcome.exit_code == 0
    heading, hooks, lake, paused, total = outcome.stdout.splitlines()
    assert heading.split()[:4] == ["ID", "ACCEPTED", "AGE", "SIZE"]
    assert re.fullmatch(
        rf"{mail.envelope.id} \S+Z +1m +50 hooks +dead +1 +-  <a@example.net> <r0@example.org> \+999  5.1.1 HTTP 404",
        hooks,
    )
    assert " lake " in lake
    assert re.search(r" waiting +1 +59m  <a", lake)
    assert re.fullmatch(r"paused: hooks since \S+Z: HTTP 410", paused)
    assert total == "messages: 1, deliveries: 2 (dead 1, waiting 1), octets: 50"


def test_json_has_the_documented_fields(folder, mailsluice):
    mail = plain_mail()
    fill(folder, Spooled(mail=mail, states={"a": State.DEAD}, status="5.1.1", cause="no"), paused={"b": "410"})
    delivery, paused = objects(mailsluice("spool", "ls", "--spool", folder, "--json"))
    assert delivery.pop("accepted_at").endswith("Z")
    assert paused.pop("since").endswith("Z")
    assert delivery == {
        "kind": "delivery",
        "id": mail.envelope.id,
        "size": mail.envelope.message.size,
        "sender": "a@example.net",
        "recipients": ["b@example.org"],
        "connector": "a",
        "state": "dead",
        "attempts": 1,
        "due": None,
        "possible_duplicate": False,
        "status": "5.1.1",
        "cause": "no",
        "problem": "",
    }
    assert paused == {"kind": "paused", "connector": "b", "cause": "410"}


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (["--connector", "a"], {"old a", "young a"}),
        (["--state", "dead", "--state", "behind"], {"old a"}),
        (["--older-than", "1h"], {"old a", "old b"}),
        (["--newer-than", "60m"], {"young a"}),
        (["--recipient", "*@example.org"], {"old a", "old b"}),
        (["--recipient", "B@EXAMPLE.ORG"], {"old a", "old b"}),
        (["--recipient", "*@*.example"], {"young a"}),
        (["--error", "REFUSED"], {"young a"}),
        (["--error", "refused", "--state", "dead"], set()),
    ],
)
def test_filters_leave_what_they_name(folder, mailsluice, filters, expected):
    old, young = plain_mail(), sample("UTF-8 addresses")
    fill(
        folder,
        Spooled(mail=old, states={"a": State.DEAD, "b": State.WAITING}, age_seconds=7200),
        Spooled(mail=young, states={"a": State.WAITING}, cause="connection refused"),
    )
    names = {old.envelope.id: "old", young.envelope.id: "young"}
    found = objects(mailsluice("spool", "ls", "--spool", folder, "--json", *filters))
    assert {f"{names[each['id']]} {each['connector']}" for each in found} == expected


@pytest.mark.parametrize("arguments", [("ls",), ("ls", "--json"), ("show", "{id}"), ("show", "{id}", "--json")])
def test_no_control_character_gets_to_the_terminal(folder, mailsluice, arguments):
    mail = sample("binary content in chunks")
    fill(folder, Spooled(mail=mail, states={"a": State.DEAD}, cause=HOSTILE), paused={"a": HOSTILE})
    outcome = mailsluice("spool", *(each.format(id=mail.envelope.id) for each in arguments), "--spool", folder)
    assert outcome.exit_code == 0
    assert all(line.isprintable() for line in outcome.stdout.split("\n"))
    assert "\nmailsluice ready" not in outcome.stdout


def test_show_tells_everything_about_a_message(folder, mailsluice):
    mail = sample("metadata of every type")
    fill(
        folder,
        Spooled(mail=mail, states={"a": State.DEAD}, status="5.1.1", cause="HTTP 404", possible_duplicate=True),
        paused={"a": "HTTP 410"},
    )
    outcome = mailsluice("spool", "show", mail.envelope.id[:20].lower(), "--spool", folder)
    assert outcome.exit_code == 0
    for expected in (
        f"id          {mail.envelope.id}",
        f"sha256      {mail.envelope.message.sha256}",
        "content     50 octets in the database, as it was received",
        "from        <a@example.net> SMTPUTF8 SIZE=50",
        "to          <b@example.org>",
        "container   type 65535, 256 octets, received",
        "subject:    a sample",
        "state       dead, 1 attempt, possibly delivered before",
        "error       5.1.1 HTTP 404",
        "recipient   b@example.org",
    ):
        assert f"{expected}\n" in outcome.stdout
    assert "paused: a since " in outcome.stdout


def test_show_as_json_has_the_envelope_and_the_deliveries(folder, mailsluice):
    mail = sample("large content in a file")
    fill(folder, Spooled(mail=mail, states={"a": State.DEAD, "b": State.WAITING}))
    (shown,) = objects(mailsluice("spool", "show", mail.envelope.id, "--spool", folder, "--json"))
    assert (shown["kind"], shown["id"], shown["in_file"], shown["problem"]) == (
        "message",
        mail.envelope.id,
        True,
        "",
    )
    assert shown["envelope"]["message"]["sha256"] == mail.envelope.message.sha256
    assert [(each["connector"], each["state"]) for each in shown["deliveries"]] == [("a", "dead"), ("b", "waiting")]


def test_show_finds_damage(folder, mailsluice):
    mail = sample("large content in a file")
    fill(folder, Spooled(mail=mail, states={"a": State.DEAD}))
    (folder / "content" / mail.envelope.id).write_bytes(b"zeros")
    outcome = mailsluice("spool", "show", mail.envelope.id, "--spool", folder)
    assert "the content is not the one that was stored: its SHA-256 differs\n" in outcome.stdout


def test_retry_says_how_many_and_resumes_what_it_names(folder, mailsluice):
    fill(
        folder,
        Spooled(mail=plain_mail(), states={"a": State.DEAD, "b": State.ATTEMPTED}),
        Spooled(mail=plain_mail(), states={"a": State.WAITING, "b": State.DEAD}),
        paused={"a": "410", "b": "410"},
    )
    outcome = mailsluice("spool", "retry", "--connector", "a", "--spool", folder)
    assert (outcome.exit_code, outcome.stdout) == (0, "retried: 2, left as they are: 0\nresumed: a\n")
    outcome = mailsluice("spool", "retry", "--all", "--spool", folder)
    assert (outcome.exit_code, outcome.stdout) == (0, "retried: 3, left as they are: 0\nresumed: b\n")
    found = objects(mailsluice("spool", "ls", "--spool", folder, "--json"))
    assert sorted((each["state"], each["attempts"]) for each in found) == [("attempted", 1), *[("waiting", 0)] * 3]


def test_retry_refuses_what_is_damaged(folder, mailsluice):
    mail = sample("large content in a file")
    fill(folder, Spooled(mail=mail, states={"a": State.QUARANTINED}))
    (folder / "content" / mail.envelope.id).write_bytes(b"zeros")
    assert mailsluice("spool", "retry", "--all", "--spool", folder).exit_code == 0
    outcome = mailsluice("spool", "retry", mail.envelope.id, "--spool", folder)
    assert (outcome.exit_code, outcome.stdout) == (1, "retried: 0, left as they are: 1\n")
    assert outcome.stderr == (
        f"mailsluice: {mail.envelope.id} for a stays as it is: "
        "the content is not the one that was stored: its SHA-256 differs\n"
    )


def test_retry_says_the_same_as_json(folder, mailsluice):
    damaged, dead, under_way = sample("large content in a file"), plain_mail(), plain_mail()
    fill(
        folder,
        Spooled(mail=damaged, states={"a": State.QUARANTINED}),
        Spooled(mail=dead, states={"a": State.DEAD}),
        Spooled(mail=under_way, states={"a": State.ATTEMPTED}),
        paused={"a": "410"},
    )
    (folder / "content" / damaged.envelope.id).write_bytes(b"zeros")
    states = [option for state in ("quarantined", "dead", "attempted") for option in ("--state", state)]
    outcome = mailsluice("spool", "retry", "--connector", "a", *states, "--spool", folder, "--json")
    assert outcome.exit_code == 1
    assert objects(outcome) == [
        {
            "kind": "refused",
            "id": damaged.envelope.id,
            "connector": "a",
            "problem": "the content is not the one that was stored: its SHA-256 differs",
        },
        {"kind": "retried", "retried": 1, "left": 1, "refused": 1},
        {"kind": "resumed", "connector": "a"},
    ]


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (["show", "9"], 1, "no message in the spool has the id 9"),
        (["show", "0"], 1, "more than one message has an id that begins with 0; give more of it"),
        (["show", "../x"], 2, "'../X' is no id; an id has 26 digits and letters, and its beginning is enough"),
        (["ls", "--connector", "b"], 2, 'no connector is named "b"; there are: a'),
        (["ls", "--older-than", "3"], 2, "--older-than '3' is no age; write a number and s, m, h, d or w: "),
        (["ls", "--recipient", "@"], 2, "'@' is no recipient pattern; write "),
        (["ls", "--config", "x"], 2, "--spool and --config both say which spool; give one of them"),
        (["retry"], 2, "say what to retry: some ids, some filters, or --all by itself"),
        (["retry", "--all", "--connector", "a"], 2, "say what to retry: some ids, some filters, or --all by itself"),
    ],
)
def test_a_mistake_is_answered_with_a_sentence(folder, mailsluice, arguments, status, sentence):
    fill(folder, *(Spooled(mail=plain_mail(), states={"a": State.DEAD}) for _ in range(2)))
    outcome = mailsluice("spool", *arguments, "--spool", folder)
    assert outcome.exit_code == status
    assert outcome.stderr.startswith(f"mailsluice: {sentence}")
    assert outcome.stderr.count("\n") == 1


def test_a_spool_that_is_not_there_is_named(tmp_path, mailsluice):
    outcome = mailsluice("spool", "ls", "--spool", tmp_path)
    assert (outcome.exit_code, outcome.stdout) == (1, "")
    assert outcome.stderr == f"mailsluice: there is no spool in {tmp_path}: nothing was ever spooled there\n"
    assert list(tmp_path.iterdir()) == []


def test_the_configuration_says_which_spool(folder, tmp_path, mailsluice, sample_connectors):
    fill(folder, Spooled(mail=plain_mail(), states={"a": State.DEAD}))
    path = tmp_path / "mailsluice.toml"
    path.write_text(
        f'gateway.spool = "{folder}"\n[[listener]]\nname = "mx"\nprotocol = "smtp"\nbind = "[::1]:0"\n'
        '[[connector]]\nname = "new"\ntype = "sample"\n[[route]]\nrecipients = ["*"]\nconnectors = ["new"]\n'
    )
    assert len(objects(mailsluice("spool", "ls", "--config", path, "--json"))) == 1
    assert objects(mailsluice("spool", "ls", "--config", path, "--json", "--connector", "new")) == []
