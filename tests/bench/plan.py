"""Which cells are measured: contenders, and sheets of loads that they get in turns.

Contenders of one sheet run at the same time, and ratios are taken within a sheet only. Not every product of
contenders, sizes and sessions is a cell: those are that a goal or a question about scaling needs. What was left out
stands here too, and is told in the page.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tests.bench import peers
from tests.bench.contender import Contender
from tests.bench.load import KB, MB, Load, generated, smtp_source
from tests.bench.ours import gateway
from tests.bench.servers import Servers

__all__ = ["CONTENDERS", "LEFT_OUT", "QUICK", "SHEETS", "Sheet"]

CONTENDERS: Mapping[str, Callable[[Servers], Contender]] = {
    "smtp-sink": peers.smtp_sink,
    "canned replies": peers.canned,
    "aiosmtpd + aiokafka": peers.aiosmtpd_kafka,
    "Haraka": peers.haraka,
    "Postfix": peers.postfix,
    "Exim": peers.exim,
    "engine": gateway("count"),
    "engine, 2 workers": gateway("count", workers=2),
    "engine, 2 connectors": gateway("count-2"),
    "engine, 4 connectors": gateway("count-4"),
    "spool": gateway("count", accept="spooled"),
    "spool, 2 workers": gateway("count", accept="spooled", workers=2),
    "directory": gateway("directory"),
    "directory, spooled": gateway("directory", accept="spooled"),
    "Kafka": gateway("kafka"),
    "Kafka, 2 workers": gateway("kafka", workers=2),
    "Kafka, 3 brokers": gateway("kafka", brokers=3),
    "Kafka, spooled": gateway("kafka", accept="spooled"),
    "S3 message": gateway("s3-message"),
    "S3 message, spooled": gateway("s3-message", accept="spooled"),
    "S3 batch": gateway("s3-batch"),
    "S3 batch, spooled": gateway("s3-batch", accept="spooled"),
    "HTTP": gateway("http"),
    "HTTP, spooled": gateway("http", accept="spooled"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """Loads that contenders get in turns. `without` names those who do not get mails above so many octets.

    `limit` is what `smtp-sink` gets where the others get BDAT, which it does not know.
    """

    name: str
    title: str
    contenders: tuple[str, ...]
    loads: tuple[Load, ...]
    without: Mapping[str, int]
    limit: Load | None = None

    def cells(self) -> list[tuple[str, Load]]:
        """Each contender with each of its loads."""
        found = [
            (contender, load)
            for load in self.loads
            for contender in self.contenders
            if load.size <= self.without.get(contender, load.size)
        ]
        return found if self.limit is None else [("smtp-sink", self.limit), *found]


def _sheet(
    name: str,
    title: str,
    contenders: str,
    *loads: Load,
    without: Mapping[str, int] | None = None,
    limit: Load | None = None,
) -> Sheet:
    names = tuple(contenders.split(" | "))
    return Sheet(name=name, title=title, contenders=names, loads=loads, without=without or {}, limit=limit)


# A record of Kafka's has 1 MB by default, and neither contender is told otherwise. Exim and the large mails: see below.
_SMALL = {"aiosmtpd + aiokafka": 20 * KB, "Kafka": 20 * KB, "Exim": 20 * KB}

SHEETS: tuple[Sheet, ...] = (
    _sheet(
        "peers",
        "Beside its peers, 20 sessions, many mails in each connection",
        "smtp-sink | canned replies | Haraka | Postfix | Exim | aiosmtpd + aiokafka | engine | spool | "
        "spool, 2 workers | Kafka",
        *(smtp_source(size, 20) for size in (KB, 20 * KB, MB, 10 * MB)),
        without=_SMALL,
    ),
    _sheet(
        "connections",
        "Beside its peers, 20 sessions, a connection for each mail",
        "smtp-sink | Haraka | Postfix | Exim | aiosmtpd + aiokafka | engine | spool | Kafka",
        smtp_source(KB, 20, one_each=True),
    ),
    _sheet(
        "crowd",
        "Beside its peers, 200 sessions",
        "smtp-sink | canned replies | Haraka | Postfix | aiosmtpd + aiokafka | engine | spool | spool, 2 workers | "
        "Kafka | Kafka, 2 workers | Kafka, 3 brokers",
        smtp_source(KB, 200),
    ),
    _sheet(
        "spool",
        "Into the spool, beside Postfix, 80 sessions",
        "smtp-sink | Postfix | spool | spool, 2 workers",
        smtp_source(KB, 80),
        # Mail servers pipeline, as Postfix's own client does.
        generated(KB, 80, "DATA"),
    ),
    _sheet(
        "commands",
        "DATA and BDAT",
        "engine | spool",
        *(generated(size, 20, command) for size in (KB, 20 * KB, MB, 10 * MB) for command in ("DATA", "BDAT")),
        generated(KB, 20, "DATA", dialect="LMTP"),
        generated(KB, 20, "BDAT", dialect="LMTP"),
    ),
    _sheet(
        "metadata",
        "What two metadata containers cost",
        "engine | spool | Kafka",
        *(generated(size, 200, "BDAT", containers=count) for size in (KB, 20 * KB) for count in (0, 2)),
    ),
    _sheet(
        "destinations",
        "Every destination, delivered and spooled",
        "directory | directory, spooled | Kafka | Kafka, 3 brokers | Kafka, spooled | S3 message | "
        "S3 message, spooled | S3 batch | S3 batch, spooled | HTTP | HTTP, spooled",
        *(generated(KB, 200, "BDAT", containers=count) for count in (0, 2)),
        limit=generated(KB, 200, "DATA"),
    ),
    _sheet(
        "sessions",
        "Throughput against sessions",
        "engine | spool | Kafka",
        *(generated(KB, sessions, "BDAT") for sessions in (1, 20, 200, 1000, 2000)),
    ),
    _sheet(
        "recipients",
        "Throughput against recipients",
        "engine | spool",
        *(generated(KB, 20, "BDAT", recipients=count) for count in (1, 10, 100)),
        *(generated(KB, 20, "BDAT", recipients=count, dialect="LMTP") for count in (1, 10, 100)),
    ),
    _sheet(
        "connectors",
        "Throughput against connectors",
        "engine | engine, 2 connectors | engine, 4 connectors",
        generated(KB, 20, "BDAT"),
    ),
    _sheet(
        "workers",
        "Throughput against workers",
        "engine | engine, 2 workers | spool | spool, 2 workers | Kafka | Kafka, 2 workers",
        generated(KB, 200, "BDAT"),
        generated(MB, 20, "BDAT"),
        without={"Kafka": KB, "Kafka, 2 workers": KB},
    ),
)

QUICK: tuple[Sheet, ...] = (
    _sheet("peers", SHEETS[0].title, "smtp-sink | Postfix | engine | spool", smtp_source(KB, 20), smtp_source(MB, 20)),
    _sheet("commands", "DATA and BDAT", "engine", generated(MB, 20, "DATA"), generated(MB, 20, "BDAT")),
    _sheet(
        "metadata",
        "What two metadata containers cost",
        "engine",
        *(generated(KB, 20, "BDAT", containers=count) for count in (0, 2)),
    ),
)

LEFT_OUT: tuple[str, ...] = (
    "Mails above 700 KB to Kafka: larger records need the brokers' consent, or a claim check in a second destination.",
    "Mails of 1 MB and 10 MB to Exim, S3 and HTTP: no goal is about them.",
    "One and 2,000 sessions from `smtp-source`: throughput against sessions is measured with the cheaper generator.",
    "p50 and p99 where the mails came from `smtp-source`: it tells when all of them are done, and of none by itself.",
    "Other sizes and numbers of sessions for one mail in a connection, and for the destinations: each costs minutes.",
    'Mails of 20 KB and more into a directory: "DATA and BDAT" has them spooled, and only counted.',
    "Least and greatest of other columns than the rate: `performance/results.json` has every round.",
    "BDAT and metadata to peers and to `smtp-sink`, which do not know them: by BDAT, ratios to it are to its DATA.",
    "OpenSMTPD: Debian's Exim stands for the second mail server.",
    "More than two workers: the load generator needs processor cores of its own.",
)
