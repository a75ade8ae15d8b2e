"""Serving in this process, or in several of which this one is the supervisor."""

import sys
from collections.abc import Callable

from gateway.app.lifecycle import serve_logging_to
from gateway.app.logs import log_to
from gateway.app.orders import Signals
from gateway.app.process import allow_connections, occupy_standard_descriptors
from gateway.app.supervisor import supervise
from gateway.config import Config

__all__ = ["serve"]


def serve(config: Config, reread: Callable[[], Config]) -> bool:
    """Run the gateway until SIGTERM or SIGINT, logging to standard error; whether it ended in good order.

    `reread` gives the configuration for a SIGHUP, or raises ConfigError. Raises StartError.
    """
    occupy_standard_descriptors()
    allow_connections()
    if config.gateway.workers > 1:
        return supervise(config, reread)
    serve_logging_to(log_to(sys.stderr), config, reread, Signals())
    return True
