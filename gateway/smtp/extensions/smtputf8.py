"""Internationalised mail (RFC 6531): UTF-8 in addresses, for a transaction whose MAIL says SMTPUTF8."""

from gateway.smtp.extension import Extension

__all__ = ["SmtpUtf8"]


class SmtpUtf8(Extension):
    """SMTPUTF8."""

    name = "Internationalized Email"
    keyword = "SMTPUTF8"
    requires = ("8BITMIME",)
    mail_octets = 10

    def __init__(self) -> None:
        self.mail_parameters = {"SMTPUTF8": _check_flag}


def _check_flag(value: str) -> str:
    return "SMTPUTF8 takes no value" if value else ""
