"""Networks of clients, as a listener's configuration names them."""

import ipaddress

from gateway.envelope import Client

__all__ = ["Network", "is_in"]

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def is_in(networks: tuple[Network, ...], client: Client) -> bool:
    """Whether the client's address is in one of the networks. A Unix socket's client is in none."""
    if not networks or client.address == "unix":
        return False
    address = ipaddress.ip_address(client.address.partition("%")[0])
    return any(address in network for network in networks)
