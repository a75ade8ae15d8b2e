"""Which mail of the archive a receipt names: `[DIRECTORY 2026/11/21/<id>.eml]`."""

import re
from collections.abc import Mapping

from connectors.directory.settings import DirectorySettings
from gateway.connector import Extent, Spot

__all__ = ["spot"]

_PATH = re.compile(r"([0-9]{4})/([0-9]{2})/([0-9]{2})/([0-9A-HJKMNP-TV-Z]{26})\.eml")


def spot(_: DirectorySettings, location: Mapping[str, str]) -> Spot:
    """The mail at the location's path. Raises ValueError where that is no path of an archive."""
    match = _PATH.fullmatch(location["path"])
    if match is None:
        raise ValueError("the path of a mail in an archive is YYYY/MM/DD/<id>.eml")
    day = "-".join(match.groups()[:3])
    return Spot(extent=Extent(since=f"{day}T00:00:00.000000Z", until=f"{day}T23:59:59.999999Z"), id=match[4])
