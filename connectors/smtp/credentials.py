"""What a session with the server needs beside its address: certificates to trust, and whom to log in as."""

import ssl
from dataclasses import dataclass, replace

from connectors.smtp.attempt import Host
from connectors.smtp.settings import SmtpSettings
from gateway.connector import PermanentFailure
from gateway.credentials import CredentialsError, client_tls, secret_of
from gateway.relay.session import Access, Login, Tls
from gateway.status import UNUSABLE

__all__ = ["Credentials", "read_credentials"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What the files that the settings name hold, read once."""

    settings: SmtpSettings
    context: ssl.SSLContext | None
    login: Login | None

    def access(self, host: Host, *, hello_name: str) -> Access:
        """How to begin a session with that host."""
        tls = None
        if self.context is not None and self.settings.tls != "none":
            tls = Tls(context=self.context, use=self.settings.tls, hostname=host.name)
        referrals = self.settings.referral_style if self.settings.follow_referrals else "none"
        return Access(dialect=host.dialect, hello_name=hello_name, tls=tls, login=self.login, referrals=referrals)

    def without_login(self) -> "Credentials":
        """The same for a host that the password is not for."""
        return replace(self, login=None)


def read_credentials(settings: SmtpSettings) -> Credentials:
    """Read the files that `settings` name. Raises PermanentFailure when one is of no use; its cause names it."""
    try:
        return Credentials(settings=settings, context=_context(settings), login=_login(settings))
    except CredentialsError as error:
        raise PermanentFailure(UNUSABLE, "the destination is not configured correctly", cause=str(error)) from error


def _context(settings: SmtpSettings) -> ssl.SSLContext | None:
    if settings.tls == "none":
        return None
    context = client_tls(tls_ca_file=settings.tls_ca_file)
    if not settings.verifies:
        # RFC 7435 §3: whoever goes on without TLS gains nothing by refusing a certificate.
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _login(settings: SmtpSettings) -> Login | None:
    if not settings.username:
        return None
    password = secret_of(settings.password, settings.password_file)
    return Login(user=settings.username, password=password.get_secret_value())
