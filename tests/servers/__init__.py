"""Real servers on loopback for the tests: Apache Kafka, an S3 server, Postfix.

Each is a context manager: entering starts it and returns once it answers, leaving ends it and removes its files.
`python -m tests.servers.install` fetches what they are made of; the fixtures over them are in `tests/conftest.py`.
A server that cannot be had on this machine raises `Unavailable`, one that is here and does not start `StartFailed`.
"""
