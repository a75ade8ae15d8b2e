"""Why a gateway does not start, or does not take a new configuration."""

__all__ = ["StartError"]


class StartError(Exception):
    """The gateway cannot start. The text is one sentence for the operator."""
