"""A mail that a careless program would change, and metadata of every kind."""

MAIL = b"From: ann@example.net\r\nTo: bob@example.org\r\nSubject: hello\r\n\r\n.dot\r\n\x00\xff in binary\r\n"
LARGE_MAIL = MAIL + b"".join(b".%075d\r\n" % number for number in range(100_000))

TRACE = b"Received: from a.example by b.example; Fri, 21 Nov 2026 10:00:00 +0000\r\n"
# Type and data of a trace, of keywords, and of something that nobody knows.
RECEIVED = [(0, TRACE), (1, b"$Forwarded"), (0x1234, bytes(range(256)))]
CONTAINERS = tuple(type_.to_bytes(2) + data for type_, data in RECEIVED)
