"""From this gateway to the next mail server: sessions of SMTP and LMTP, and a relay that has one for each mail."""

from gateway.relay.relay import RELAY_RETRIES, Relay

__all__ = ["RELAY_RETRIES", "Relay"]
