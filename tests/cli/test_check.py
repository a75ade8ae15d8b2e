from textwrap import dedent

import pytest

from gateway.keys import Purpose, create_key

RIGHT = """
[[listener]]
name = "mx"
protocol = "smtp"
bind = "[::1]:2525"
[[connector]]
name = "events"
type = "sample"
metadata = "flatten"
copy_to = "archive"
[[connector]]
name = "archive"
type = "sample"
[[route]]
recipients = ["*@example.org", "*@example.net"]
connectors = ["events"]
"""


@pytest.fixture(autouse=True)
def _plugins(sample_connectors):
    pass


def check(mailsluice, path, text):
    path /= "mailsluice.toml"
    path.write_text(text)
    return mailsluice("check", "--config", path)


def test_a_right_configuration_is_summed_up(mailsluice, tmp_path):
    outcome = check(mailsluice, tmp_path, RIGHT)
    assert outcome.exit_code == 0
    assert outcome.stdout == dedent(
        """\
        listener   mx: smtp on [::1]:2525
        connector  archive: sample, metadata preserve
        connector  events: sample, metadata flatten
        route      *@example.org, *@example.net to events, delivered
        ok
        """
    )


def test_where_recipients_are_referred_is_part_of_the_sum(mailsluice, tmp_path):
    referring = 'reply_metadata = { referral = ["10.0.0.0/8"] }\n[[connector]]'
    refer = 'refer = "lmtp://backend2.example.org/"\n'
    refer += '[[route]]\nrecipients = ["*"]\nrefer = "smtp://backend3.example.org:26/"\n'
    outcome = check(mailsluice, tmp_path, RIGHT.replace("[[connector]]", referring, 1) + refer)
    assert outcome.stdout.splitlines()[-3:] == [
        "route      *@example.org, *@example.net to events, delivered; referred to lmtp://backend2.example.org:24/",
        "route      * referred to smtp://backend3.example.org:26/",
        "ok",
    ]


def test_how_mail_is_accepted_and_where_it_is_spooled_is_part_of_the_sum(mailsluice, tmp_path):
    spooled = '[gateway]\nspool = "/var/spool/mail-in"\n' + RIGHT + 'accept = "spooled"\nbounce_via = "127.0.0.1:25"\n'
    outcome = check(mailsluice, tmp_path, spooled)
    assert outcome.exit_code == 0
    assert outcome.stdout.splitlines()[-3:] == [
        "route      *@example.org, *@example.net to events, spooled, notifications via 127.0.0.1:25",
        "spool      /var/spool/mail-in",
        "ok",
    ]


def test_keys_are_part_of_the_sum(mailsluice, tmp_path):
    first, second = (create_key(tmp_path / "keys", Purpose.RECEIPT) for _ in range(2))
    outcome = check(mailsluice, tmp_path, f'[gateway]\nkeys = "{tmp_path / "keys"}"\n{RIGHT}')
    assert outcome.stdout.splitlines()[-3:] == [
        f"key        {first.name}: verifies",
        f"key        {second.name}: in use",
        "ok",
    ]


def test_keys_that_cannot_be_used_are_told_in_a_sentence(mailsluice, tmp_path):
    create_key(tmp_path / "keys", Purpose.RECEIPT)
    (tmp_path / "keys").chmod(0o755)
    outcome = check(mailsluice, tmp_path, f'[gateway]\nkeys = "{tmp_path / "keys"}"\n{RIGHT}')
    assert outcome.exit_code == 1
    assert outcome.stderr.startswith("mailsluice: `gateway.keys`: others than its owner have access to ")


def test_the_built_in_configuration_is_right(mailsluice):
    outcome = mailsluice("check")
    assert outcome.exit_code == 0
    assert outcome.stdout.endswith("ok\n")


def test_everything_wrong_is_on_standard_error_with_its_line(mailsluice, tmp_path):
    outcome = check(mailsluice, tmp_path, RIGHT.replace("smtp", "stmp").replace('["events"]', '["event"]'))
    assert outcome.exit_code == 2
    assert outcome.stdout == ""
    path = tmp_path / "mailsluice.toml"
    assert outcome.stderr == (
        f'{path}:4: listener.protocol: must be "smtp" or "lmtp", not "stmp"\n'
        f'{path}:16: route.connectors[0]: no connector is named "event"; did you mean "events"?\n'
    )


def test_a_missing_extra_is_found(mailsluice, tmp_path):
    text = RIGHT.replace('type = "sample"\n[[route]]', 'type = "lazy"\n[[route]]')
    outcome = check(mailsluice, tmp_path, text)
    assert outcome.exit_code == 1
    assert outcome.stderr.startswith('mailsluice: connector "archive": the lazy connector needs more packages: ')
    assert outcome.stderr.endswith(": pip install 'sample-connectors[lazy]'\n")


def test_nothing_is_started(mailsluice, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mailsluice("check")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_does_not_exist_is_named(mailsluice):
    outcome = mailsluice("check", "--config", "nowhere.toml")
    assert (outcome.exit_code, outcome.stderr) == (2, "nowhere.toml: cannot be read: No such file or directory\n")
