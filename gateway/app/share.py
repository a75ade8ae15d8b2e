"""What one of several workers has of the configuration: a spool of its own, and its share of what is counted."""

from dataclasses import replace

from gateway.app.failure import StartError
from gateway.config import Config, Listener
from gateway.spool.of_workers import spool_of

__all__ = ["check_same_process", "share"]


def share(config: Config, worker: int) -> Config:
    """The configuration by which this worker runs; they are counted from 0.

    Connections are spread over the workers by chance, so that one may have its share while another has room. One
    client's few are spread too unevenly for that, so what it may have is not divided: it would be refused well below.
    """
    spool = spool_of(config.gateway.spool, worker)
    return replace(
        config,
        gateway=config.gateway.model_copy(update={"spool": spool}),
        listeners=tuple(_share(listener, config.gateway.workers) for listener in config.listeners),
    )


def check_same_process(old: Config, new: Config) -> None:
    """Raise StartError where a running gateway cannot take `new` in place of `old`."""
    for key in ("spool", "workers"):
        if getattr(old.gateway, key) != getattr(new.gateway, key):
            raise StartError(f"`gateway.{key}` cannot change while the gateway runs; restart it")


def _share(listener: Listener, workers: int) -> Listener:
    limits = listener.limits
    part = -(-limits.max_connections // workers)
    return listener.model_copy(update={"limits": limits.model_copy(update={"max_connections": part})})
