"""Postfix's `smtp-sink` on loopback: an SMTP server with DSN, which keeps what it was told, mail by mail."""

import email
import email.message
import email.policy
import os
import shutil
from types import TracebackType
from typing import Self

from tests.servers.ports import LOOPBACK, accepts, free_port
from tests.servers.processes import ServerProcess, find_program, make_directory

_START_SECONDS = 30.0
_BACKLOG = "100"


class SmtpSink:
    """Running on entry."""

    def __init__(self) -> None:
        """Raises `Unavailable` where there is no Postfix."""
        program = find_program("smtp-sink")
        port = free_port()
        self.address = f"{LOOPBACK}:{port}"
        self._port = port
        self._directory = make_directory("smtp-sink")
        # It gives up root's rights before it writes.
        self._mails = self._directory / "mails"
        self._mails.mkdir()
        self._directory.chmod(0o755)
        self._mails.chmod(0o777)
        user = () if os.geteuid() else ("-u", "nobody")
        command = [program, *user, "-d", f"{self._mails}/mail.", self.address, _BACKLOG]
        self._process = ServerProcess("smtp-sink", command, log=self._directory / "log")

    def __enter__(self) -> Self:
        self._process.start(lambda: accepts(self._port), _START_SECONDS)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.kill()
        shutil.rmtree(self._directory, ignore_errors=True)

    def pause(self) -> None:
        """Freeze it: connections are accepted and nothing is answered."""
        self._process.pause()

    def resume(self) -> None:
        """Let it go on after `pause()`."""
        self._process.resume()

    def mails(self) -> list[email.message.EmailMessage]:
        """Every mail that it has answered 250 for. `X-Mail-Args` and `X-Rcpt-Args` are what MAIL and RCPT said."""
        contents = [path.read_bytes() for path in self._mails.iterdir()]
        # It writes a mail down when it is whole; until then, and where none comes, the file is empty.
        return [email.message_from_bytes(content, policy=email.policy.SMTP) for content in contents if content]
