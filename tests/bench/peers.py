"""The contenders that are not ours, each with its configuration in `contenders`."""

import os
import sys
from importlib.metadata import version
from pathlib import Path

from tests.bench.contender import Contender, Program
from tests.bench.servers import CONTENDERS, TOPIC, Servers
from tests.servers.exim import Exim
from tests.servers.haraka import Haraka
from tests.servers.ports import free_port
from tests.servers.postfix import Postfix
from tests.servers.processes import find_program, run_tool

__all__ = ["aiosmtpd_kafka", "canned", "exim", "haraka", "postfix", "smtp_sink"]


def smtp_sink(_servers: Servers) -> Contender:
    """Postfix's `smtp-sink`, which receives and forgets: the limit."""
    port = free_port()
    user = () if os.geteuid() else ("-u", "nobody")
    command = [find_program("smtp-sink"), *user, "-m", "2500", f"127.0.0.1:{port}", "4096"]
    return Contender(Program("smtp-sink", command, port), smtp=port, version=_postfix_version())


def canned(_servers: Servers) -> Contender:
    """A few lines on the event loop that ours runs on, which answer nearly everything without reading it."""
    port = free_port()
    command = [sys.executable, CONTENDERS / "canned.py", str(port)]
    return Contender(Program("canned replies", command, port), smtp=port, version=f"uvloop {version('uvloop')}")


def aiosmtpd_kafka(servers: Servers) -> Contender:
    """aiosmtpd with a handler that sends to Kafka, to the broker that ours sends to."""
    port = free_port()
    program = CONTENDERS / "aiosmtpd_kafka.py"
    command = [sys.executable, program, str(port), servers.kafka(1).bootstrap, TOPIC]
    versions = f"aiosmtpd {version('aiosmtpd')}, aiokafka {version('aiokafka')}"
    return Contender(Program("aiosmtpd", command, port), smtp=port, version=versions)


def haraka(_servers: Servers) -> Contender:
    """Haraka with a plugin that accepts every message, and does nothing with it."""
    server = Haraka(CONTENDERS / "haraka")
    node = run_tool([find_program("node"), "--version"], seconds=30).strip()
    return Contender(server, smtp=server.port, version=f"Haraka {server.version}, Node.js {node}")


def postfix(_servers: Servers) -> Contender:
    """Postfix, which syncs each message in its queue before it answers 250, and discards it then."""
    server = Postfix("smtp", "127.0.0.1:9", _parameters(CONTENDERS / "postfix.cf"))
    return Contender(server, smtp=server.port, version=_postfix_version(), is_emptied=lambda: not server.queue())


def exim(_servers: Servers) -> Contender:
    """Exim, which spools each message before it answers 250, and discards it then."""
    server = Exim(configuration=(CONTENDERS / "exim.conf").read_text())

    def is_emptied() -> bool:
        if server.queue():
            server.flush()
        return not server.queue()

    return Contender(server, smtp=server.port, version=server.version, is_emptied=is_emptied)


def _postfix_version() -> str:
    return f"Postfix {run_tool([find_program('postconf'), '-dh', 'mail_version'], seconds=30).strip()}"


def _parameters(path: Path) -> dict[str, str]:
    lines = (line for line in path.read_text().splitlines() if line and not line.startswith("#"))
    return {name.strip(): value.strip() for name, _, value in (line.partition("=") for line in lines)}
