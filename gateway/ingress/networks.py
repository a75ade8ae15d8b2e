"""Networks of clients, as a listener's configuration names them."""

import ipaddress
from typing import Literal

from gateway.envelope import Client

__all__ = ["UNIX", "Network", "is_in"]

UNIX: Literal["unix"] = "unix"
"""In place of a network: the clients of a Unix socket, which have no address."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network | Literal["unix"]


def is_in(networks: tuple[Network, ...], client: Client) -> bool:
    """Whether the client's address is in one of the networks, or it has none and they name such clients."""
    if not networks:
        return False
    if client.address == UNIX:
        return UNIX in networks
    address = ipaddress.ip_address(client.address.partition("%")[0])
    return any(address in network for network in networks if not isinstance(network, str))
