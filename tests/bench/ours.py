"""The gateway as a contender: `mailsluice serve` with a configuration from `contenders/mailsluice`.

Its log goes to a file, as it would in production, with a line for each mail; what is written for that counts.
"""

import json
import os
import sqlite3
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from importlib.metadata import version
from pathlib import Path
from string import Template
from typing import Literal

from tests.bench.contender import Contender, Program
from tests.bench.servers import CONTENDERS, TOPIC, Servers
from tests.bench.site.bench_connectors import SAMPLE
from tests.servers.ports import free_port
from tests.servers.processes import make_directory

__all__ = ["gateway"]

_SITE = Path(__file__).with_name("site")
_TABLES = CONTENDERS / "mailsluice"
_MAIN = "from gateway.cli import main; main()"
# Of each destination, the names of the connectors that its file declares.
_CONNECTORS = {
    "count": ["count"],
    "count-2": ["count-1", "count-2"],
    "count-4": ["count-1", "count-2", "count-3", "count-4"],
    "directory": ["archive"],
    "kafka": ["events"],
    "s3-message": ["objects"],
    "s3-batch": ["objects"],
    "http": ["consumer"],
}


def gateway(
    destination: str, *, accept: Literal["delivered", "spooled"] = "delivered", workers: int = 1, brokers: int = 1
) -> Callable[[Servers], Contender]:
    """A builder of a gateway whose mail goes to what `contenders/mailsluice/<destination>.toml` declares."""
    return partial(_build, destination, accept, workers, brokers)


def _build(destination: str, accept: str, workers: int, brokers: int, servers: Servers) -> Contender:
    smtp, lmtp = free_port(), free_port()
    values = {
        "smtp": smtp,
        "lmtp": lmtp,
        "workers": workers,
        "accept": accept,
        "connectors": json.dumps(_CONNECTORS[destination]),
        **_behind(destination, brokers, servers),
    }
    folder = make_directory("gateway")
    texts = (_TABLES / name for name in ("gateway.toml", f"{destination}.toml"))
    configuration = folder / "mailsluice.toml"
    configuration.write_text("".join(Template(path.read_text()).substitute(values) for path in texts))
    server = _Gateway(configuration, smtp)
    return Contender(
        server,
        smtp=smtp,
        lmtp=lmtp,
        version=f"mailsluice {version('mailsluice')}",
        is_emptied=lambda: _is_emptied(folder / "spool"),
        lags=partial(_lags, folder),
        log=server.log.read_text,
    )


class _Gateway(Program):
    """Ready when it says so."""

    def __init__(self, configuration: Path, port: int) -> None:
        # Connectors are found on the path, and what is relative in the configuration is so to the working directory.
        program = f"import os; os.chdir({str(configuration.parent)!r}); {_MAIN}"
        super().__init__(
            "Mailsluice",
            [sys.executable, "-c", program, "serve", "--config", configuration],
            port,
            directory=configuration.parent,
            environment={"PYTHONPATH": os.pathsep.join([str(_SITE), str(Path(__file__).parents[2])])},
        )

    def is_ready(self) -> bool:
        return "mailsluice ready" in self.log.read_text()


def _behind(destination: str, brokers: int, servers: Servers) -> dict[str, str]:
    """What the destination's file leaves open."""
    match destination:
        case "kafka":
            return {"brokers": json.dumps(servers.kafka(brokers).bootstrap.split(",")), "topic": TOPIC}
        case "s3-message" | "s3-batch":
            store = servers.store()
            return {
                "bucket": store.create_bucket(),
                "endpoint": store.endpoint_url,
                "access_key": store.access_key,
                "secret_key": store.secret_key,
            }
        case "http":
            return {"url": servers.consumer()}
        case _:
            return {}


def _is_emptied(spool: Path) -> bool:
    for database in (*spool.glob("spool.db"), *spool.glob("worker-*/spool.db")):
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=30)) as connection:
            if connection.execute("SELECT 1 FROM delivery LIMIT 1").fetchone():
                return False
    return True


def _lags(folder: Path, began: float, ended: float) -> Sequence[float]:
    samples = (sample for path in folder.glob("lag-*") for sample in SAMPLE.iter_unpack(path.read_bytes()))
    return [lag for moment, lag in samples if began <= moment <= ended]
