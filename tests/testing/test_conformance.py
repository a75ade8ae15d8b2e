from gateway.testing import MemoryConnector, check_connector


async def test_the_memory_connector_keeps_the_contract():
    connectors = []

    def make():
        connectors.append(MemoryConnector())
        return connectors[-1]

    async def read_back(receipt):
        return connectors[-1].mails[receipt.id]

    await check_connector(make, read_back, max_in_flight=100)
