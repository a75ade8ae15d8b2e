"""A real Postfix of our own on loopback, which accepts mail by SMTP and relays all of it by LMTP or SMTP.

It has its own configuration, queue, data and log, and runs only the services that this takes; the system's Postfix,
if there is one, is not read, written or stopped. Postfix starts only as root, and its client runs as user `postfix`:
a unix socket it delivers to must be where that user can reach it.
"""

import grp
import json
import os
import pwd
import shutil
import smtplib
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from tests.servers.ports import LOOPBACK, free_port
from tests.servers.processes import ServerProcess, Unavailable, find_program, make_directory, run_tool

_START_SECONDS = 30.0
_TOOL_SECONDS = 30.0
_USER = "postfix"
_GROUP = "postdrop"

_PRIVATE_QUEUES = (
    *("active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "private", "saved", "trace"),
)

# name  type  private  unprivileged  chroot  wakeup  processes  command
_SERVICES = """\
{address} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
smtp unix - - n - - smtp
lmtp unix - - n - - lmtp
error unix - - n - - error
discard unix - - n - - discard
retry unix - - n - - error
showq unix n - n - - showq
scache unix - - n - 1 scache
anvil unix - - n - 1 anvil
tlsmgr unix - - n 1000? 1 tlsmgr
postlog unix-dgram n - n - 1 postlogd
"""


class Postfix:
    """A Postfix that relays every message, bounces too, to one place.

    `protocol` and `address` say where to: `"lmtp"` or `"smtp"`, and `"HOST:PORT"` or, for LMTP, `"unix:/PATH"`. What
    cannot be delivered is tried again every second or so, and at once by `flush()`. `settings` are parameters of
    `main.cf` that come before ours.
    """

    def __init__(
        self, protocol: Literal["lmtp", "smtp"], address: str, settings: Mapping[str, str] | None = None
    ) -> None:
        self._commands = _commands()
        self.port = free_port()
        # Not below the test's own directory, which only its owner may enter.
        self._directory = make_directory("postfix")
        self._directory.chmod(0o755)
        self._log = self._directory / "postfix.log"
        self._configuration = configuration = self._directory / "configuration"
        configuration.mkdir()
        self._make_directories()
        parameters = {**self._parameters(_transport(protocol, address)), **(settings or {})}
        main = configuration / "main.cf"
        main.write_text("".join(f"{name} = {value}\n" for name, value in parameters.items()))
        # Postfix reads a file again, after a second, until it has not changed for two: one of 1970 it reads once.
        os.utime(main, (0, 0))
        (configuration / "master.cf").write_text(_SERVICES.format(address=f"{LOOPBACK}:{self.port}"))
        # `master` itself, not `postfix start-fg`: the latter's master leaves our process group and would outlive it.
        daemons = self._tool("postconf", "-dh", "daemon_directory").strip()
        self._process = ServerProcess(
            "Postfix", [Path(daemons) / "master", "-c", configuration, "-s"], log=self._directory / "output"
        )

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._close()

    def start(self) -> None:
        """Start it and return once it has greeted; after `stop()`, with the same port and queue."""
        self._process.start(self._greets, _START_SECONDS)

    def stop(self) -> None:
        """Shut it down in order; the queue stays."""
        self._process.stop()

    @property
    def pid(self) -> int:
        """The number of its master process, below which all others are."""
        return self._process.pid

    def log(self) -> str:
        """Return all it has logged."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def queue(self) -> int:
        """Return how many messages it holds."""
        # One that is moved from one queue to another meanwhile is listed in both.
        return len({json.loads(line)["queue_id"] for line in self._tool("postqueue", "-j").splitlines()})

    def flush(self) -> None:
        """Have it try again now to deliver all it holds."""
        self._tool("postqueue", "-f")

    def _tool(self, name: str, *arguments: str) -> str:
        command: list[str | Path] = [self._commands / name, "-c", self._configuration, *arguments]
        return run_tool(command, seconds=_TOOL_SECONDS)

    def _parameters(self, transport: str) -> dict[str, str]:
        return {
            "compatibility_level": "3.6",
            "queue_directory": str(self._directory / "queue"),
            "data_directory": str(self._directory / "data"),
            "mail_owner": _USER,
            "setgid_group": _GROUP,
            "maillog_file": str(self._log),
            "maillog_file_prefixes": str(self._directory),
            "myhostname": "relay.example.org",
            "inet_interfaces": LOOPBACK,
            "inet_protocols": "ipv4",
            "mynetworks": "127.0.0.0/8",
            "smtpd_relay_restrictions": "permit_mynetworks, reject",
            # No address is local, so that everything takes the default transport.
            "mydestination": "",
            "local_recipient_maps": "",
            "alias_maps": "",
            "alias_database": "",
            "default_transport": transport,
            "smtp_dns_support_level": "disabled",
            "smtp_host_lookup": "native",
            "lmtp_host_lookup": "native",
            "notify_classes": "",
            "message_size_limit": "0",
            "mailbox_size_limit": "0",
            "smtputf8_enable": "yes",
            "queue_run_delay": "1s",
            "minimal_backoff_time": "1s",
            "maximal_backoff_time": "2s",
        }

    def _make_directories(self) -> None:
        # As Postfix's own `postfix-files` lists them; `postfix check` would make them, and look at much else.
        owner, group = pwd.getpwnam(_USER).pw_uid, grp.getgrnam(_GROUP).gr_gid
        queue = self._directory / "queue"
        (queue / "pid").mkdir(parents=True)
        for part in (self._directory / "data", *(queue / name for name in _PRIVATE_QUEUES)):
            part.mkdir(mode=0o700)
            os.chown(part, owner, -1)
        for name, mode in (("maildrop", 0o730), ("public", 0o710)):
            (queue / name).mkdir()
            (queue / name).chmod(mode)
            os.chown(queue / name, owner, group)

    def _greets(self) -> bool:
        try:
            with smtplib.SMTP(LOOPBACK, self.port, timeout=10):
                return True
        except (OSError, smtplib.SMTPException):
            # Not listening yet; or, after a restart, accepted by the socket that the old processes just left.
            return False

    def _close(self) -> None:
        self._process.stop()
        shutil.rmtree(self._directory, ignore_errors=True)


def _transport(protocol: Literal["lmtp", "smtp"], address: str) -> str:
    if protocol == "lmtp":
        return f"lmtp:{address}" if address.startswith("unix:") else f"lmtp:inet:{address}"
    host, _, port = address.rpartition(":")
    return f"smtp:[{host}]:{port}"


def _commands() -> Path:
    """Return the directory of Postfix's commands; raise `Unavailable` if it cannot run here."""
    commands = find_program("postfix").parent
    if os.geteuid():
        raise Unavailable("Postfix starts as root only")
    for kind, name, known in (
        ("user", _USER, {each.pw_name for each in pwd.getpwall()}),
        ("group", _GROUP, {each.gr_name for each in grp.getgrall()}),
    ):
        if name not in known:
            raise Unavailable(f"Postfix cannot run: there is no {kind} {name}")
    return commands
