"""A gateway with a listener of every kind, for clients that come in by all of them."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.end_to_end import tables
from tests.end_to_end.archives import Stored, stored
from tests.end_to_end.gateway import ID, MAILSLUICE, Gateway

USER = "ann"
PASSWORD = "correct horse: battery=staple"

_TLS = """
[[listener]]
name = "{mode}"
protocol = "smtp"
bind = "127.0.0.1:0"
tls = {{mode = "{mode}", certificate_file = "{chain}", key_file = "{key}", required = true}}
"""
_LOGIN = """
[[listener]]
name = "login"
protocol = "smtp"
bind = "127.0.0.1:0"
authentication = {password_file = "passwords", required = true, allow_without_tls = true}
"""
_SUBMISSION = """
[[listener]]
name = "submission"
protocol = "smtp"
bind = "127.0.0.1:0"
tls = {{mode = "starttls", certificate_file = "{chain}", key_file = "{key}"}}
authentication = {{password_file = "passwords", required = true}}
"""
_PROXY_TLS = """
[[listener]]
name = "proxy-tls"
protocol = "smtp"
bind = "127.0.0.1:0"
proxy_protocol_networks = ["127.0.0.0/8"]
tls = {{mode = "implicit", certificate_file = "{chain}", key_file = "{key}"}}
"""
_PROXY = """
[[listener]]
name = "proxy"
protocol = "smtp"
bind = "127.0.0.1:0"
proxy_protocol_networks = ["127.0.0.0/8"]
"""


@dataclass(frozen=True, slots=True)
class Doors:
    """The gateway, and the mail that a reply is about."""

    gateway: Gateway

    def port(self, listener: str) -> str:
        """The port, as a program's argument."""
        return str(self.gateway.address(listener)[1])

    def stored_as(self, reply: str) -> Stored:
        """The mail whose id is in a final reply, or in a transcript that has just one."""
        (id_,) = ID.findall(reply)
        (mail,) = (mail for mail in stored(self.gateway.folder / "mail") if mail.envelope.id == id_)
        return mail


def make_doors(folder: Path, *, chain: Path, key: Path) -> Doors:
    """One that does not run yet. Its one user has the password PASSWORD."""
    password = subprocess.run(
        [MAILSLUICE, "password", USER], input=PASSWORD, stdout=subprocess.PIPE, text=True, check=True
    )
    (folder / "passwords").write_text(password.stdout)
    # It is looked up while the configuration is read, from the directory in which the gateway runs.
    listeners = tables.LISTENERS + _LOGIN + _PROXY
    listeners += "".join(each.format(chain=chain, key=key) for each in (_SUBMISSION, _PROXY_TLS))
    listeners += "".join(_TLS.format(mode=mode, chain=chain, key=key) for mode in ("starttls", "implicit"))
    return Doors(Gateway(folder, listeners + tables.directory() + tables.route("archive")))
