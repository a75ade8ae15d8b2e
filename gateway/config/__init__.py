"""The configuration: one TOML file, read once, checked whole.

Every fault is told at once, each as `FILE:LINE: key: what is wrong; what would be right`. An empty or half-right file
never starts a gateway.
"""

from gateway.config.assembly import Config, ConfiguredConnector
from gateway.config.model import Authentication, Gateway, Limits, Listener, Route, Tls
from gateway.config.source import BUILT_IN, ConfigError, Problem, load, read
from gateway.config.values import TcpBind, UnixBind

__all__ = [
    "BUILT_IN",
    "Authentication",
    "Config",
    "ConfigError",
    "ConfiguredConnector",
    "Gateway",
    "Limits",
    "Listener",
    "Problem",
    "Route",
    "TcpBind",
    "Tls",
    "UnixBind",
    "load",
    "read",
]
