"""Where a socket is: an address to listen on, or one of a server."""

from dataclasses import dataclass
from pathlib import Path

__all__ = ["TcpBind", "UnixBind"]


@dataclass(frozen=True, slots=True)
class TcpBind:
    """A TCP address. To listen on port 0 lets the system choose."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class UnixBind:
    """A Unix socket."""

    path: Path

    def __str__(self) -> str:
        return f"unix:{self.path}"
