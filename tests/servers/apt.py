"""Debian's packages, which some of the servers come in or need: where there is apt-get, and we are root."""

import os
import shutil
from collections.abc import Sequence

from tests.servers.processes import StartFailed, Unavailable, run_tool

# RUNLEVEL: in the single-user one no service is started that a package brings.
_ENVIRONMENT = {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
_SECONDS = 900


def require_apt(wanted: str) -> None:
    """Raise `Unavailable` for `wanted` where no package can be installed."""
    if shutil.which("apt-get") is None or os.geteuid():
        raise Unavailable(f"{wanted} cannot be installed: that takes apt-get and root")


def install_packages(names: Sequence[str]) -> None:
    """Install these packages and what they depend on. Raises `StartFailed`."""
    try:
        _apt_get("install", "--yes", "--no-install-recommends", *names)
    except StartFailed:  # the usual reason: no package lists yet, or old ones
        _apt_get("update")
        _apt_get("install", "--yes", "--no-install-recommends", *names)


def _apt_get(*words: str) -> None:
    run_tool(["apt-get", "--quiet", *words], seconds=_SECONDS, environment=_ENVIRONMENT)
