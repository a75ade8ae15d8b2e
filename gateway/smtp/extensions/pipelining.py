"""Command pipelining (RFC 2920): the engine answers in order whatever is pipelined; this only announces it."""

from gateway.smtp.extension import Extension

__all__ = ["Pipelining"]


class Pipelining(Extension):
    """PIPELINING."""

    name = "Command Pipelining"
    keyword = "PIPELINING"
