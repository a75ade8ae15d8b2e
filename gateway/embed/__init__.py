"""The gateway inside other programs that receive mail."""
