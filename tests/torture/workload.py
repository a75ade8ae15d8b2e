"""Mail that can be told again from its seed: what the torture bench sends.

    for mail in islice(mails("7-0", Traffic()), 20): client.send(mail)

The same name and traffic give the same mails, octet for octet. The name is the beginning of every marker, so that no
two streams of one run may have the same.

Left out: several mails in one group of commands, and mails of one key, whose order would have to be judged. LMTP mails
with a result of its own for each recipient come in tests.torture.nemesis only, whose recipients have two routes.
"""

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

__all__ = ["LONG_SIZES", "SIZES", "Mail", "Mode", "Sizes", "Traffic", "mails"]

_KIBIBYTE = 1024
_LINE_OCTETS = 78
_MOST_RECIPIENTS = 3
_NAMES = (*[""] * 9, "jürgen.用户")
_MOST_CONTAINERS = 4
_MOST_CONTAINER_OCTETS = 200
# Between two chunks each, and how often there are so many.
_CUTS = {0: 40, 1: 20, 2: 20, 5: 19, 999: 1}

Sizes: TypeAlias = Mapping[int, float]

# Octets of content, and how often each size comes. 64 KiB is where content leaves the spool's database for a file,
# and above 256 KiB it leaves memory.
SIZES: Sizes = {
    0: 10,
    1: 10,
    4 * _KIBIBYTE: 60,
    64 * _KIBIBYTE - 1: 5,
    64 * _KIBIBYTE: 5,
    64 * _KIBIBYTE + 1: 5,
    1024 * _KIBIBYTE: 2,
}
LONG_SIZES: Sizes = {**SIZES, 50_000_000: 0.05}


class Mode(StrEnum):
    """How a mail is sent. The names of LMTP's begin with `lmtp`."""

    DATA = "data"
    BDAT = "bdat"
    BMTD = "bmtd"
    LMTP_DATA = "lmtp-data"
    LMTP_BDAT = "lmtp-bdat"
    LMTP_BMTD = "lmtp-bmtd"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mail:
    """One mail to be sent. `chunks` are the sizes of its BDAT chunks, none for DATA; `containers` are type and data."""

    marker: str
    mode: Mode
    recipients: tuple[str, ...]
    content: bytes = field(repr=False)
    chunks: tuple[int, ...] = ()
    containers: tuple[bytes, ...] = field(default=(), repr=False)

    @property
    def listener(self) -> str:
        """The name of the listener that takes it."""
        return "lmtp" if self.mode.startswith("lmtp") else "smtp"

    @property
    def is_utf8(self) -> bool:
        """Whether some recipient can be named by SMTPUTF8 (RFC 6531) only."""
        return not all(recipient.isascii() for recipient in self.recipients)


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """What kind of mail is sent. Recipients are in every one of `domains`, or in some."""

    modes: tuple[Mode, ...] = tuple(Mode)
    sizes: Sizes = field(default_factory=lambda: SIZES)
    domains: tuple[str, ...] = ("example.org",)


def mails(name: str, traffic: Traffic) -> Iterator[Mail]:
    """Mail without end."""
    source = random.Random(name)
    sizes, weights = tuple(traffic.sizes), tuple(traffic.sizes.values())
    number = 0
    while True:
        mode = source.choice(traffic.modes)
        (size,) = source.choices(sizes, weights)
        yield Mail(
            marker=f"{name}-{number}",
            mode=mode,
            recipients=tuple(
                f"{source.choice(_NAMES)}{source.randrange(1000)}.{place}@{source.choice(traffic.domains)}"
                for place in range(source.randint(1, _MOST_RECIPIENTS))
            ),
            content=_lines(source, size) if mode in (Mode.DATA, Mode.LMTP_DATA) else source.randbytes(size),
            chunks=() if mode in (Mode.DATA, Mode.LMTP_DATA) else _chunks(source, size),
            containers=_containers(source) if mode in (Mode.BMTD, Mode.LMTP_BMTD) else (),
        )
        number += 1


def _lines(source: random.Random, size: int) -> bytes:
    """Text, some of its lines beginning with a dot; DATA cannot end but with a line end, so that 1 octet becomes 2."""
    if not size:
        return b""
    line = source.randbytes(_LINE_OCTETS // 2 - 1).hex().encode()
    lines = b"\r\n".join((b"." * (number % 3) + b"%08x" % number + line) for number in range(size // len(line) + 1))
    # Cut within a line end, nothing bare may be left of it.
    return lines[: max(0, size - 2)].replace(b"\r\n", b"\n").replace(b"\r", b"x").replace(b"\n", b"\r\n") + b"\r\n"


def _chunks(source: random.Random, size: int) -> tuple[int, ...]:
    """Sizes of chunks that make up `size`; some are empty, and so may the last be."""
    (number,) = source.choices(tuple(_CUTS), tuple(_CUTS.values()))
    cuts = sorted(source.randint(0, size) for _ in range(number))
    return tuple(end - start for start, end in zip((0, *cuts), (*cuts, size), strict=True))


def _containers(source: random.Random) -> tuple[bytes, ...]:
    """Containers of types that nobody knows, as the gateway must not look into them."""
    return tuple(
        source.randint(0x8000, 0xFFFF).to_bytes(2) + source.randbytes(source.randint(0, _MOST_CONTAINER_OCTETS))
        for _ in range(source.randint(1, _MOST_CONTAINERS))
    )
