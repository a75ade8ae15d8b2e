import subprocess
import sys

import pytest

from gateway import __version__

COMMANDS = ("check", "conformance", "password", "replay", "schema", "send", "serve", "spool", "verify")
# What only some commands need, and takes long to import.
SLOW = ("aioboto3", "aiokafka", "aiosmtpd", "asyncio", "boto3", "msgspec", "pydantic", "rich", "structlog")


def test_the_version_is_printed(mailsluice):
    outcome = mailsluice("--version")
    assert (outcome.exit_code, outcome.stdout) == (0, f"mailsluice {__version__}\n")


def test_help_names_every_command(mailsluice):
    outcome = mailsluice("--help")
    assert outcome.exit_code == 0
    for command in COMMANDS:
        assert f" {command} " in outcome.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command, mailsluice):
    assert mailsluice(command, "--help").exit_code == 0


@pytest.mark.parametrize("arguments", [["nonsense"], ["serve", "--nonsense"], ["schema", "nonsense"], ["password"]])
def test_a_wrong_command_line_exits_with_2(arguments, mailsluice):
    outcome = mailsluice(*arguments)
    assert outcome.exit_code == 2
    assert "Traceback" not in outcome.output


def test_the_command_line_is_ready_quickly():
    script = f"import sys, gateway.cli; print(*[m for m in {SLOW!r} if m in sys.modules])"
    outcome = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert outcome.stdout == "\n"
