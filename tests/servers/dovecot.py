"""A real Dovecot of our own on loopback, which takes mail by LMTP and keeps it in Maildirs; it knows no METADATA.

It has its own configuration, state and log; the system's Dovecot, if there is one, is not read, written or stopped.
Dovecot starts only as root.
"""

import os
import pwd
import shutil
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.servers.ports import LOOPBACK, accepts, free_port
from tests.servers.processes import ServerProcess, Unavailable, find_program, make_directory

_START_SECONDS = 30.0
_OWNER = "nobody"
_FULL_OCTETS = 10

_CONFIGURATION = """\
base_dir = {directory}/run
state_dir = {directory}/state
log_path = {directory}/dovecot.log
protocols = lmtp
ssl = no
hostname = mail.example.org
first_valid_uid = 1
mail_uid = {uid}
mail_gid = {gid}
mail_location = maildir:{directory}/mail/%n
mail_plugins = quota
lmtp_save_to_detail_mailbox = no
auth_username_format = %n
passdb {{
  driver = passwd-file
  args = {directory}/users
}}
userdb {{
  driver = passwd-file
  args = {directory}/users
}}
plugin {{
  quota = maildir
}}
service lmtp {{
  inet_listener lmtp {{
    address = {address}
    port = {port}
  }}
  unix_listener {directory}/lmtp {{
    mode = 0666
  }}
}}
service stats {{
  client_limit = 100
}}
"""


class Dovecot:
    """Running on entry. It has a mailbox for each of `users`; those of `full` take no mail above ten octets."""

    def __init__(self, users: Sequence[str], *, full: Sequence[str] = ()) -> None:
        """Raises `Unavailable` where there is no Dovecot with LMTP, or we are not root."""
        program = find_program("dovecot")
        if not Path("/usr/lib/dovecot/lmtp").exists():
            raise Unavailable("dovecot-lmtpd is not installed: run `python -m tests.servers.install` as root")
        if os.geteuid():
            raise Unavailable("Dovecot starts as root only")
        self.port = free_port()
        self._directory = make_directory("dovecot")
        self._directory.chmod(0o755)
        self.socket = self._directory / "lmtp"
        owner = pwd.getpwnam(_OWNER)
        self._mail = self._directory / "mail"
        self._mail.mkdir()
        os.chown(self._mail, owner.pw_uid, owner.pw_gid)
        rules = dict.fromkeys(users, "") | dict.fromkeys(full, f"userdb_quota_rule=*:bytes={_FULL_OCTETS}")
        lines = (
            f"{name}:{{PLAIN}}none:{owner.pw_uid}:{owner.pw_gid}::{self._mail}/{name}::{rule}\n"
            for name, rule in rules.items()
        )
        (self._directory / "users").write_text("".join(lines))
        configuration = self._directory / "dovecot.conf"
        configuration.write_text(
            _CONFIGURATION.format(
                directory=self._directory, uid=owner.pw_uid, gid=owner.pw_gid, address=LOOPBACK, port=self.port
            )
        )
        self._process = ServerProcess("Dovecot", [program, "-F", "-c", configuration], log=self._directory / "output")

    def __enter__(self) -> Self:
        try:
            self._process.start(lambda: accepts(self.port), _START_SECONDS)
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._close()

    def mails(self, user: str) -> list[bytes]:
        """Every mail in a user's inbox, octet for octet as it is stored."""
        return [path.read_bytes() for path in sorted((self._mail / user / "new").glob("*"))]

    def log(self) -> str:
        """Return all it has logged."""
        return (self._directory / "dovecot.log").read_text(errors="replace")

    def _close(self) -> None:
        self._process.stop()
        shutil.rmtree(self._directory, ignore_errors=True)
