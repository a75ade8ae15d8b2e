import pytest

from connectors.s3 import CONNECTOR
from gateway.testing import check_connector

pytestmark = pytest.mark.usefixtures("either_way")


@pytest.mark.parametrize(
    ("layout", "max_in_flight"),
    # A thousand mails in the message layout are two thousand requests, and the hundredth shows what the last one would.
    [("message", 100), ("batch", CONNECTOR.max_in_flight)],
)
async def test_both_layouts_keep_the_contract(shelf, layout, max_in_flight):
    settings = shelf.settings(layout=layout, batch_max_age_seconds=0.05)
    await check_connector(lambda: CONNECTOR.build(settings, {}), shelf.read_back, max_in_flight=max_in_flight)


@pytest.mark.parametrize("layout", ["message", "batch"])
async def test_a_prefix_made_of_strangers_words_keeps_the_contract(shelf, layout):
    settings = shelf.settings(layout=layout, prefix="to/{recipient}/from/{sender}/", batch_max_age_seconds=0.05)
    await check_connector(lambda: CONNECTOR.build(settings, {}), shelf.read_back)
