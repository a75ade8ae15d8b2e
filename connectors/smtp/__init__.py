"""The next mail server, by SMTP or LMTP: one host, or the mail exchangers of each recipient's domain.

What the server offers in its hello decides the form of a mail:

    the server            SMTP                                        LMTP, final delivery
    knows METADATA        every container as it came, this gateway's own trace first; the content untouched
    does not              trace fields above the content, other       the same, without Return-Path fields: the server
                          containers end here                         that delivers the mail writes the only one

With `metadata = "flatten"` every server gets the lower form. Nothing else is changed and nothing is converted. What the
server cannot take fails for good: 5.3.4 for a mail above its SIZE, containers counted, 5.6.3 for 8-bit or binary
content, 5.6.7 and 5.6.9 for UTF-8 in addresses and in the mail. Mail that was declared 8-bit or internationalised, but
is ASCII throughout, goes to any server. DSN parameters go to servers that know them, and notifying the originator is
then their business.

What the server says of a recipient is what becomes of that recipient: 4yz, and it is tried again, 5yz, and it is not.
A server that cannot be reached, does not greet or does not let us log in is tried again. The receipt has the host, the
reply, and whether containers were `carried` or `flattened`; where recipients went to several hosts, those of the second
one end in `-2`, and so on. A mail whose end was sent, and whose answer did not come, may be there twice afterwards.

With `mx = true` recipients go by domain, each domain's to one of its mail exchangers: the lowest preference first,
among equals those that take metadata, otherwise any; the domain's own address where it has no mail exchanger. The next
one is tried only where the one before could not be reached or put off every recipient. A domain that takes no mail
(RFC 7505) is refused with 5.1.10.

A server that offers XREPLYMETA with REFERRAL may name another one for a recipient, where `follow_referrals` allows that
one: the recipient's mail goes there, and from there to the next one, ten times at most. Each server that is asked gets
the recipient with the same parameters, under the same TLS, and never a password. A circle is refused with 5.4.6; where
a referral is not allowed, or its server cannot be reached, everything is tried again later.

Connections are kept for the next mail. A password is sent under TLS only, except to this machine.
"""

from collections.abc import Mapping

from connectors.smtp.settings import MAX_IN_FLIGHT, SmtpSettings
from gateway.connector import Connector, ConnectorType
from gateway.relay import RELAY_RETRIES

__all__ = ["CONNECTOR", "SmtpSettings"]


def _build(settings: SmtpSettings, _: Mapping[str, Connector]) -> Connector:
    from connectors.smtp.connector import SmtpConnector  # noqa: PLC0415  # TLS and sessions, for whoever relays

    if not settings.mx:
        return SmtpConnector(settings)
    from connectors.smtp.exchangers import DnsExchangers  # noqa: PLC0415  # dnspython comes with the extra `smtp`

    return SmtpConnector(settings, lambda: DnsExchangers(port=settings.server_port))


CONNECTOR = ConnectorType(
    name="smtp",
    summary="Relay each mail to the next mail server, by SMTP or LMTP, with its metadata where that server takes it.",
    stability="beta",
    settings=SmtpSettings,
    build=_build,
    max_in_flight=MAX_IN_FLIGHT,
    retries=RELAY_RETRIES,
    coordinates=("host", "port", "reply"),
)
