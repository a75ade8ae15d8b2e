import asyncio

import pytest

from connectors.directory import CONNECTOR, DirectoryConnector, DirectorySettings
from gateway.codec import bmtd, json_v1
from gateway.envelope import Content, Mail
from gateway.testing import check_connector, sample_mails


def connector(path):
    return CONNECTOR.build(DirectorySettings(name="archive", path=path), {})


async def read_back_from(root, receipt):
    content = root / receipt.location["path"]
    return Mail(json_v1.decode(content.with_suffix(".json").read_bytes()), Content(content.read_bytes()))


async def test_conformance(tmp_path):
    await check_connector(
        lambda: connector(tmp_path / "mail"),
        lambda receipt: read_back_from(tmp_path / "mail", receipt),
        max_in_flight=CONNECTOR.max_in_flight,
    )
