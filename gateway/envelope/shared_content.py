"""Where an archive, be it a directory or a bucket, keeps a content that several mails share: under its SHA-256."""

__all__ = ["shared_content_key"]


def shared_content_key(sha256: str) -> str:
    """`content/<first two digits>/<sha256>.eml`, relative to the archive; `sha256` is in lower-case hexadecimal."""
    return f"content/{sha256[:2]}/{sha256}.eml"
