"""The consumer of the `http` contenders: it reads each request to its end and answers 204. For uvicorn."""

__all__ = ["app"]


async def app(scope, receive, send):
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})
