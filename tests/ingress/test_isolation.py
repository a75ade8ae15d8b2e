"""What goes wrong in one session stays there."""

from gateway.delivery import Routes
from gateway.ingress import Listener
from tests.ingress.gateway import ENVELOPE, HELLO, gateway, settings

MAIL = HELLO + ENVELOPE + b"BDAT 2 LAST\r\n\r\n"


async def test_a_connector_that_breaks_its_contract_is_a_temporary_failure(tmp_path):
    async with gateway(settings(tmp_path)) as running, await running.connect() as client:
        running.memory.failure = ZeroDivisionError("nobody expected this")
        assert await client.codes(MAIL, count=4) == [250, 250, 250, 451]
        running.memory.failure = None
        assert await client.codes(ENVELOPE, b"BDAT 2 LAST\r\n\r\n", count=3) == [250] * 3


class _BrokenRoutes(Routes):
    def match(self, address):
        if address.local_part == "break":
            raise RuntimeError("a defect")
        return super().match(address)


async def test_a_defect_in_a_session_is_its_end_and_no_other_s(tmp_path):
    async with gateway(settings(tmp_path)) as running:
        running.listener._routes.__class__ = _BrokenRoutes
        async with await running.connect() as broken, await running.connect() as other:
            broken.send(HELLO, ENVELOPE, b"RCPT TO:<break@example.org>\r\n", b"DATA\r\nhello\r\n.\r\n")
            assert await broken.codes(count=3) == [250] * 3
            assert await broken.reply() == ["421 4.3.0 local error, closing"]
            assert await broken.rest() == b""
            assert await other.codes(MAIL, count=4) == [250] * 4
        await running.all_sessions_end()
        assert running.contents == [b"\r\n"]


async def test_listeners_share_nothing_but_their_routes(tmp_path):
    async with gateway(settings(tmp_path, max_connections=1)) as running, await running.connect():
        second = Listener(settings(tmp_path), running.listener._routes)
        ((_, running.port),) = await second.listen_tcp("127.0.0.1", 0)
        async with await running.connect() as client:
            assert await client.codes(MAIL, count=4) == [250] * 4
        await second.stop(seconds=5)
        assert len(running.mails) == 1
