"""What the gateway's processor time goes to, by part: py-spy looks at the event loop's thread while mail comes in.

How much each thread used is the system's; what the thread of the event loop used is divided as py-spy's samples are.
"""

import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path

import psutil

from tests.bench.load import KB, MB, Load, generated, send, smtp_source
from tests.bench.plan import CONTENDERS
from tests.bench.servers import Servers
from tests.servers.processes import Unavailable

__all__ = ["PROFILED", "measure", "parts_of"]

# By the name of the column: a contender, and what it is sent.
PROFILED: Mapping[str, tuple[str, Load]] = {
    **{contender: (contender, smtp_source(KB, 20)) for contender in ("engine", "spool", "Kafka", "S3 message")},
    "engine, by BDAT": ("engine", generated(KB, 20, "BDAT")),
    "engine, by BDAT with 2 containers": ("engine", generated(KB, 20, "BDAT", containers=2)),
    **{f"engine, 10 MB by {command}": ("engine", generated(10 * MB, 20, command)) for command in ("DATA", "BDAT")},
}

_MOST_MAILS = 4_000
_OCTETS = 600 * MB
_SECONDS = 6
_MAIN = "MainThread"
_LOOP = "event loop: polling, reading, scheduling"

# The innermost frame that is one of these says what a sample belongs to; what a library does is its caller's.
_PARTS = tuple(
    (name, re.compile(pattern))
    for name, pattern in (
        ("writing to sockets", r"^Session\._write \(gateway/ingress/session\.py"),
        ("log lines", r"\((structlog/|gateway/app/log|gateway/(ingress|delivery)/records\.py)"),
        ("protocol engine", r"\(gateway/smtp/"),
        ("session, transaction", r"\(gateway/ingress/"),
        ("envelope", r"\(gateway/(envelope|codec)/"),
        ("delivery", r"\(gateway/(delivery/|turns\.py)"),
        ("spool", r"\(gateway/spool/"),
        ("connector, its library", r"\((connectors/|aiokafka/|bench_connectors\.py)"),
    )
)


def measure(contender: str, load: Load) -> Mapping[str, float]:
    """Seconds of the processor that a mail takes, by part. Raises Unavailable, StartFailed, Failed."""
    spy = Path(sys.executable).with_name("py-spy")
    if not spy.exists():
        raise Unavailable("py-spy is not installed")
    with ExitStack() as running:
        folder = Path(running.enter_context(tempfile.TemporaryDirectory(prefix="mailsluice-bench-")))
        server = running.enter_context(CONTENDERS[contender](Servers(running)))
        (pid,) = server.pids
        port = server.ports["SMTP"]
        mails = min(_MOST_MAILS, _OCTETS // load.size)
        send(load, port, mails)
        server.settle()
        before = _threads(pid)
        send(load, port, mails)
        server.settle()
        used = {thread: (seconds - before.get(thread, 0.0)) / mails for thread, seconds in _threads(pid).items()}
        samples = folder / "samples"
        command = [spy, "record", "--pid", str(pid), "--duration", str(_SECONDS), "--rate", "250", "--nonblocking"]
        options = ["--threads", "--function", "--format", "raw", "--output", samples]
        done = subprocess.Popen([*command, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while done.poll() is None:
            send(load, port, mails)
        if done.returncode or not samples.exists():
            raise Unavailable("py-spy may not look into other processes here")
        lines = samples.read_text().splitlines()
    main = used.get(pid, 0.0)
    parts = parts_of(lines)
    found = {part: main * count / sum(parts.values()) for part, count in parts.items()}
    return found | {"other threads": sum(used.values()) - main}


def parts_of(lines: Iterable[str]) -> Counter[str]:
    """How many samples of the event loop's thread each part has; a line is `thread;frame;…;frame count`."""
    found: Counter[str] = Counter()
    for line in lines:
        stack, _, count = line.rpartition(" ")
        thread, *frames = stack.split(";")
        if thread.endswith(_MAIN):
            found[_part(frames)] += int(count)
    return found


def _part(frames: list[str]) -> str:
    for frame in reversed(frames):
        for name, pattern in _PARTS:
            if pattern.search(frame):
                return name
    return _LOOP


def _threads(pid: int) -> dict[int, float]:
    """Seconds of the processor that each thread has used."""
    return {thread.id: thread.user_time + thread.system_time for thread in psutil.Process(pid).threads()}
