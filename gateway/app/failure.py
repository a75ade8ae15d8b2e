"""Why a gateway does not start, or does not take a new configuration."""

__all__ = ["StartError"]


class StartError(Exception):
    """What is to run cannot. The text is one sentence for the operator."""
