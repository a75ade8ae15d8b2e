"""What goes wrong in decoding."""

__all__ = ["CodecError"]


class CodecError(ValueError):
    """The octets are not what the codec reads, or the value is not one that its format can hold. The text says why."""
