import copy
import datetime as dt
import tomllib

from hypothesis import given
from hypothesis import strategies as st

from gateway.config import Config
from gateway.config.assembly import assemble
from gateway.config.sentences import Fault

DOCUMENT = tomllib.loads(
    """
    [gateway]
    hostname = "mx.example.org"
    [[listener]]
    name = "mx"
    protocol = "smtp"
    bind = "127.0.0.1:2525"
    trusted_networks = ["192.0.2.0/24"]
    disable_extensions = ["METADATA"]
    tls = { mode = "starttls", certificate_file = "/nowhere", key_file = "/nowhere" }
    authentication = { authenticator = "nowhere:nothing" }
    limits = { max_errors = 3 }
    [[listener]]
    name = "backend"
    protocol = "lmtp"
    bind = "unix:/nowhere"
    [[connector]]
    name = "archive"
    type = "directory"
    path = "mail"
    [[connector]]
    name = "events"
    type = "kafka"
    bootstrap_servers = ["127.0.0.1:9092"]
    topic = "mail"
    claim_check = "archive"
    [[route]]
    recipients = ["*"]
    connectors = ["archive", "events"]
    """
)


def places(value, path=()):
    """Where something in the document can be put in place of something else."""
    yield path
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(inner, (*path, key))


PLACES = [path for path in places(DOCUMENT) if path]
SCALARS = (
    st.text()
    | st.integers()
    | st.floats()
    | st.booleans()
    | st.just(dt.datetime(2024, 1, 1, tzinfo=dt.UTC))
    | st.sampled_from(["archive", "events", "kafka", "directory", "127.0.0.1:0", "unix:", "*", ".a:b", "a.:b", "\0"])
)
VALUES = st.recursive(
    SCALARS, lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(), v, max_size=3), max_leaves=4
)
REMOVED = object()


@given(st.lists(st.tuples(st.sampled_from(PLACES), VALUES | st.just(REMOVED)), min_size=1, max_size=3))
def test_whatever_a_document_says_the_outcome_is_a_configuration_or_faults(changes):
    document = copy.deepcopy(DOCUMENT)
    for path, value in changes:
        table = document
        for key in path[:-1]:
            inner = (isinstance(table, dict) and key in table) or (isinstance(table, list) and key in range(len(table)))
            table = table[key] if inner else {}
        if not isinstance(table, dict | list) or (isinstance(table, list) and path[-1] not in range(len(table))):
            continue
        if value is not REMOVED:
            table[path[-1]] = value
        elif isinstance(table, dict):
            table.pop(path[-1], None)
    outcome = assemble(document)
    assert isinstance(outcome, Config) or (outcome and all(isinstance(fault, Fault) for fault in outcome))
