"""The running gateway, put together from its configuration."""

from gateway.app.connectors import build_connectors
from gateway.app.failure import StartError
from gateway.app.keys import load_keys
from gateway.app.lifecycle import run
from gateway.app.serving import serve

__all__ = ["StartError", "build_connectors", "load_keys", "run", "serve"]
