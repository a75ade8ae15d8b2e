"""An HTTP consumer under uvicorn that answers as a test tells it to."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.connectors.http.consumers import Received, served

_SECONDS = 30.0


@dataclass
class Consumer:
    """An ASGI application that keeps every request and answers each in the same way.

    Before it answers it sets `has_request`, and waits for `may_answer`, which is set unless a test clears it.
    """

    status: int = 200
    text: str = ""
    retry_after: str = ""
    url: str = ""
    received: list[Received] = field(default_factory=list)
    has_request: threading.Event = field(default_factory=threading.Event)
    may_answer: threading.Event = field(default_factory=threading.Event)

    async def __call__(self, scope, receive, send) -> None:
        body = b""
        more = True
        while more:
            event = await receive()
            body += event.get("body", b"")
            more = event.get("more_body", False)
        headers = [(name.decode("ascii"), value.decode("ascii")) for name, value in scope["headers"]]
        self.received.append(Received(headers, body))
        self.has_request.set()
        # It blocks the server's loop, whose only client the gateway is.
        self.may_answer.wait(_SECONDS)
        answer = [(b"content-type", b"text/plain; charset=utf-8")]
        if self.retry_after:
            answer.append((b"retry-after", self.retry_after.encode()))
        await send({"type": "http.response.start", "status": self.status, "headers": answer})
        await send({"type": "http.response.body", "body": self.text.encode()})

    def reset(self) -> None:
        """Take every mail again, and forget those that came."""
        self.status, self.text, self.retry_after = 200, "", ""
        self.received.clear()
        self.has_request.clear()
        self.may_answer.set()


@contextmanager
def consuming() -> Iterator[Consumer]:
    """A consumer that is up."""
    consumer = Consumer()
    with served(consumer) as url:
        consumer.url = f"{url}/mail"
        try:
            yield consumer
        finally:
            consumer.may_answer.set()
