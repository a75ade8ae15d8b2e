"""The contract of every connector, over SMTP and over LMTP, with metadata and without."""

import pytest

from connectors.smtp import CONNECTOR
from gateway.smtp import LMTP, SMTP
from gateway.testing import check_connector
from tests.connectors.smtp.connectors import make_connector
from tests.relay.servers import listening


@pytest.mark.parametrize("dialect", [SMTP, LMTP], ids=lambda dialect: dialect.name)
@pytest.mark.parametrize("disabled", [(), ("METADATA",)], ids=["metadata", "none"])
async def test_the_connector_keeps_the_contract(tmp_path, dialect, disabled):
    async with listening(tmp_path, dialect=dialect, disabled=disabled) as (server, taken):
        await check_connector(
            lambda: make_connector(server, protocol=dialect.name.lower()), max_in_flight=CONNECTOR.max_in_flight
        )
        assert len(taken.mails) > 20
