"""The running gateway, put together from its configuration."""

from gateway.app.lifecycle import StartError, build_connectors, run, serve

__all__ = ["StartError", "build_connectors", "run", "serve"]
