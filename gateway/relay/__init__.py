"""From this gateway to the next mail server: one mail, by SMTP."""

from gateway.relay.relay import RELAY_RETRIES, Relay

__all__ = ["RELAY_RETRIES", "Relay"]
