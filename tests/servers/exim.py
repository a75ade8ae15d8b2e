"""A real Exim of our own on loopback, which takes mail by SMTP and keeps it in a Maildir; it knows no METADATA.

Debian's package of Exim takes the place of Postfix's, so the program is taken out of the package and lies in the cache.
It has its own configuration, spool and log, and runs as a user of its own.
"""

import os
import pwd
import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.servers.apt import install_packages, require_apt
from tests.servers.cache import CACHE, exclusive
from tests.servers.ports import LOOPBACK, accepts, free_port
from tests.servers.processes import ServerProcess, StartFailed, Unavailable, make_directory, run_tool

_PACKAGE = "exim4-daemon-light"
_PROGRAM = CACHE / "exim" / "usr" / "sbin" / "exim4"
_USER = "Debian-exim"  # which the program has built in
_START_SECONDS = 30.0
_TOOL_SECONDS = 300

_CONFIGURATION = """\
exim_path = {program}
primary_hostname = mail.example.org
spool_directory = {directory}/spool
log_file_path = {directory}/log/%slog
local_interfaces = {address}
daemon_smtp_ports = {port}
pid_file_path = {directory}/exim.pid
deliver_drop_privilege = true
never_users =
keep_environment =
tls_advertise_hosts =
dsn_advertise_hosts = *
chunking_advertise_hosts = *
pipelining_connect_advertise_hosts =
acl_smtp_rcpt = rcpt
acl_smtp_data = accept
message_size_limit = {most_octets}
begin acl
rcpt:
  deny local_parts = nobody
       message = 5.1.1 there is nobody of that name
  accept
begin routers
all:
  driver = accept
  transport = maildir
begin transports
maildir:
  driver = appendfile
  maildir_format
  directory = {directory}/mail
  user = {user}
begin retry
"""


def install() -> None:
    """Take the program out of Debian's package, and make its user. Raises `Unavailable`."""
    with exclusive():
        if _PROGRAM.exists() and _has_user():
            return
        require_apt(_PACKAGE)
        try:
            with tempfile.TemporaryDirectory() as folder:
                run_tool(["sh", "-c", f"cd {folder} && apt-get download --quiet {_PACKAGE}"], seconds=_TOOL_SECONDS)
                (package,) = Path(folder).glob("*.deb")
                depends = run_tool(["dpkg-deb", "--field", package, "Depends"], seconds=_TOOL_SECONDS)
                # The other packages that it depends on make a mail system of this machine.
                libraries = [each.split()[0] for each in depends.split(",") if each.strip().startswith("lib")]
                install_packages(libraries)
                run_tool(["dpkg-deb", "--extract", package, CACHE / "exim"], seconds=_TOOL_SECONDS)
            if not _has_user():
                run_tool(["useradd", "--system", "--user-group", "--no-create-home", _USER], seconds=_TOOL_SECONDS)
        except StartFailed as failure:
            raise Unavailable(f"{_PACKAGE} cannot be installed: {failure}") from failure


def _has_user() -> bool:
    return _USER in {each.pw_name for each in pwd.getpwall()}


class Exim:
    """Running on entry. It refuses recipients whose local-part is `nobody`."""

    def __init__(self, *, most_octets: int = 50_000_000, configuration: str = _CONFIGURATION) -> None:
        """`configuration` is a template like that above. Raises `Unavailable` where Exim is not, or we are not root."""
        if not _PROGRAM.exists() or not _has_user():
            raise Unavailable("Exim is not installed: run `python -m tests.servers.install` as root")
        if os.geteuid():
            raise Unavailable("Exim starts as root only")
        self.port = free_port()
        self._directory = make_directory("exim")
        user = pwd.getpwnam(_USER)
        for name in ("spool", "log", "mail"):
            (self._directory / name).mkdir()
            os.chown(self._directory / name, user.pw_uid, user.pw_gid)
        self._directory.chmod(0o755)
        self._configuration = self._directory / "exim.conf"
        self._configuration.write_text(
            configuration.format(
                program=_PROGRAM,
                directory=self._directory,
                address=LOOPBACK,
                port=self.port,
                user=_USER,
                most_octets=most_octets,
            )
        )
        self._process = ServerProcess(
            "Exim", [_PROGRAM, "-bdf", "-C", self._configuration], log=self._directory / "output"
        )

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

    def mails(self) -> list[bytes]:
        """Every mail that it has delivered, octet for octet as it is stored."""
        return [path.read_bytes() for path in sorted((self._directory / "mail" / "new").glob("*"))]

    @property
    def pid(self) -> int:
        """The number of the daemon's process, below which all others are."""
        return self._process.pid

    @property
    def version(self) -> str:
        """Of the program, as it says itself."""
        return " ".join(self._tool("-bV").split()[:3])

    def queue(self) -> int:
        """Return how many messages it holds."""
        return int(self._tool("-bpc"))

    def flush(self) -> None:
        """Deliver now all it holds, and return when that was tried."""
        self._tool("-qf")

    def log(self) -> str:
        """Return all it has logged."""
        return "".join(path.read_text(errors="replace") for path in sorted((self._directory / "log").glob("*")))

    def _tool(self, *arguments: str) -> str:
        return run_tool([_PROGRAM, "-C", self._configuration, *arguments], seconds=_TOOL_SECONDS)

    def _close(self) -> None:
        self._process.stop()
        shutil.rmtree(self._directory, ignore_errors=True)
