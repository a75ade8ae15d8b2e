"""What a worker has of the configuration."""

from pathlib import Path

import pytest

from gateway.app import StartError
from gateway.app.share import check_same_process, share
from gateway.config import read

CONFIGURATION = """
[gateway]
workers = 3
spool = "somewhere"
[[listener]]
name = "mx"
protocol = "smtp"
bind = "127.0.0.1:0"
[listener.limits]
max_connections = 10
max_connections_per_client = 3
max_recipients = 200
[[connector]]
name = "archive"
type = "directory"
path = "mail"
[[route]]
recipients = ["*"]
connectors = ["archive"]
"""


def configuration(text=CONFIGURATION):
    return read(text, source="test.toml")


def test_each_worker_has_a_spool_of_its_own_and_the_first_one_that_of_the_gateway():
    spools = [share(configuration(), worker).gateway.spool for worker in range(3)]
    assert spools == [Path("somewhere"), Path("somewhere/worker-1"), Path("somewhere/worker-2")]


def test_connections_are_divided_and_what_is_of_one_client_or_one_transaction_is_not():
    limits = share(configuration(), 1).listeners[0].limits
    assert (limits.max_connections, limits.max_connections_per_client, limits.max_recipients) == (4, 3, 200)


@pytest.mark.parametrize(("old", "new"), [("workers = 3", "workers = 2"), ("somewhere", "elsewhere")])
def test_what_processes_there_are_and_where_their_mail_lies_stays(old, new):
    check_same_process(configuration(), configuration(CONFIGURATION.replace("10", "20")))
    with pytest.raises(StartError, match="restart it"):
        check_same_process(configuration(), configuration(CONFIGURATION.replace(old, new)))
