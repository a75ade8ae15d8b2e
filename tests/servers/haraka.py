"""Haraka on loopback, from npm, with a configuration of the caller's.

It is installed into the cache when it is first asked for: no test needs it, a benchmark does.
"""

import json
import shutil
from pathlib import Path
from string import Template
from types import TracebackType
from typing import Self

from tests.servers.cache import CACHE, exclusive
from tests.servers.ports import accepts, free_port
from tests.servers.processes import ServerProcess, StartFailed, Unavailable, find_program, make_directory, run_tool

__all__ = ["Haraka", "install"]

_HOME = CACHE / "haraka"
_PROGRAM = _HOME / "node_modules" / "haraka" / "bin" / "haraka"
_START_SECONDS = 30.0
_INSTALL_SECONDS = 300


def install(package: Path) -> None:
    """Have what a `package.json` asks for in the cache. Raises `Unavailable`."""
    find_program("node")
    npm = find_program("npm")
    with exclusive():
        kept = _HOME / "package.json"
        if _PROGRAM.exists() and kept.read_bytes() == package.read_bytes():
            return
        shutil.rmtree(_HOME, ignore_errors=True)
        _HOME.mkdir()
        shutil.copy(package, kept)
        options = ("--omit=dev", "--omit=optional", "--no-audit", "--no-fund", "--loglevel=error")
        try:
            run_tool([npm, "install", "--prefix", _HOME, *options], seconds=_INSTALL_SECONDS)
        except StartFailed as failure:
            raise Unavailable(f"Haraka cannot be installed: {failure}") from failure


class Haraka:
    """Running on entry. `home` holds `package.json`, `config` and `plugins`; `$port` in `smtp.ini` is its port."""

    def __init__(self, home: Path) -> None:
        """Raises `Unavailable` where there is no Node.js, or npm cannot fetch it."""
        install(home / "package.json")
        self.port = free_port()
        self._directory = make_directory("haraka")
        node = find_program("node")
        # Its own defaults first; ours take their places.
        run_tool([node, _PROGRAM, "-i", self._directory], seconds=_START_SECONDS)
        for part in ("config", "plugins"):
            shutil.copytree(home / part, self._directory / part, dirs_exist_ok=True)
        settings = self._directory / "config" / "smtp.ini"
        settings.write_text(Template(settings.read_text()).substitute(port=self.port))
        self._process = ServerProcess("Haraka", [node, _PROGRAM, "-c", self._directory], log=self._directory / "output")

    @property
    def pid(self) -> int:
        """The number of its process."""
        return self._process.pid

    @property
    def version(self) -> str:
        """Of Haraka itself."""
        return json.loads((_PROGRAM.parents[1] / "package.json").read_text())["version"]

    def __enter__(self) -> Self:
        self._process.start(lambda: accepts(self.port), _START_SECONDS)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.stop()
        shutil.rmtree(self._directory, ignore_errors=True)
