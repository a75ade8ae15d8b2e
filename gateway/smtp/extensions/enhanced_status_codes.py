"""Enhanced error codes (RFC 2034): present, every reply carries its RFC 3463 code, whether or not the client asked."""

from gateway.smtp.extension import Extension

__all__ = ["EnhancedStatusCodes"]


class EnhancedStatusCodes(Extension):
    """ENHANCEDSTATUSCODES."""

    name = "Enhanced-Status-Codes"
    keyword = "ENHANCEDSTATUSCODES"
