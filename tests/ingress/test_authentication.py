"""AUTH over a socket, by authenticators of aiosmtpd's convention: a user's own function, and the password file."""

import base64
import threading

import pytest
from aiosmtpd.smtp import AuthResult, LoginPassword

from gateway.ingress import PasswordFile, hash_password
from tests.ingress.gateway import ENVELOPE, HELLO, gateway, settings


def plain(login: str, password: str) -> bytes:
    return b"AUTH PLAIN " + base64.b64encode(f"\0{login}\0{password}".encode()) + b"\r\n"


async def test_a_function_of_aiosmtpd_s_convention_decides(tmp_path):
    asked = []

    def authenticator(server, session, envelope, mechanism, data):
        asked.append((server, session.peer[0], session.host_name, mechanism, type(data), threading.current_thread()))
        return AuthResult(success=data == LoginPassword(b"user", b"secret"))

    async with gateway(settings(tmp_path, authenticator=authenticator)) as running, await running.connect() as client:
        assert await client.codes(HELLO, plain("user", "wrong"), plain("user", "secret"), count=3) == [250, 535, 235]
        assert await client.codes(ENVELOPE, b"BDAT 2 LAST\r\n\r\n", count=3) == [250] * 3
        server, peer, name, mechanism, kind, thread = asked[0]
        assert (server, peer, name, mechanism) == (None, "127.0.0.1", "client.example.net", "PLAIN")
        assert kind is LoginPassword
        assert thread is not threading.main_thread()
        transaction = running.mails[0].envelope.transaction
        assert (transaction.authenticated_as, transaction.protocol) == ("user", "ESMTPA")


@pytest.mark.parametrize("failure", [ConnectionRefusedError, TimeoutError, OSError])
async def test_an_authenticator_that_cannot_tell_is_a_temporary_failure(tmp_path, failure):
    def authenticator(*_):
        raise failure("the directory is down")

    async with gateway(settings(tmp_path, authenticator=authenticator)) as running, await running.connect() as client:
        client.send(HELLO, plain("user", "secret"))
        assert await client.code() == 250
        assert await client.reply() == ["454 4.7.0 authentication is not available now"]
        assert await client.codes(ENVELOPE, count=2) == [250, 250]


async def test_without_an_authenticator_nobody_is_refused_for_good(tmp_path):
    offered = settings(tmp_path, policy={"authentication": True, "authentication_without_tls": True})
    async with gateway(offered) as running, await running.connect() as client:
        assert await client.codes(HELLO, plain("user", "secret"), b"NOOP\r\n", count=3) == [250, 454, 250]


async def test_an_authenticator_with_a_defect_costs_its_own_session(tmp_path):
    def authenticator(*_):
        raise KeyError("user")

    async with gateway(settings(tmp_path, authenticator=authenticator)) as running:
        client, other = await running.connect(), await running.connect()
        assert await client.codes(HELLO, plain("user", "secret"), count=2) == [250, 421]
        assert await client.rest() == b""
        assert await other.codes(HELLO, count=1) == [250]


async def test_the_password_file_decides(tmp_path):
    file = tmp_path / "passwords"
    file.write_text(
        f"# people\n\nuser:{hash_password('secret')}\nother:{hash_password('pässword')}\n", encoding="utf-8"
    )
    async with gateway(settings(tmp_path, authenticator=PasswordFile(file))) as running:
        attempts = [
            (plain("user", "secret"), 235),
            (plain("other", "pässword"), 235),
            (plain("user", "pässword"), 535),
            (plain("nobody", "secret"), 535),
            (plain("# people", ""), 501),
        ]
        for attempt, code in attempts:
            async with await running.connect() as client:
                assert await client.codes(HELLO, attempt, count=2) == [250, code]


async def test_the_time_of_a_password_keeps_nobody_else_waiting(tmp_path):
    begun, go_on = threading.Event(), threading.Event()

    def authenticator(*_):
        begun.set()
        go_on.wait(10)
        return AuthResult(success=True)

    async with gateway(settings(tmp_path, authenticator=authenticator)) as running:
        slow, other = await running.connect(), await running.connect()
        slow.send(HELLO, plain("user", "secret"), b"NOOP\r\n")
        await running.until(begun.is_set)
        assert await other.codes(HELLO, ENVELOPE, b"BDAT 2 LAST\r\n\r\n", count=4) == [250] * 4
        go_on.set()
        assert await slow.codes(count=3) == [250, 235, 250]
