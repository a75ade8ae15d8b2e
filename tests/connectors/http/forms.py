"""A reader of multipart/form-data that is not ours."""

import aiohttp


async def read_form(content_type: str, body: bytes) -> list[tuple[str, str, str, bytes]]:
    """Name, file name, media type and octets of each part."""

    class Protocol:
        _reading_paused = False

        def pause_reading(self) -> None: ...

        def resume_reading(self, **_) -> None: ...

    stream = aiohttp.StreamReader(Protocol(), 2**24)
    stream.feed_data(body)
    stream.feed_eof()
    reader = aiohttp.MultipartReader({"Content-Type": content_type}, stream)
    parts = []
    while (part := await reader.next()) is not None:
        parts.append((part.name, part.filename, part.headers["Content-Type"], bytes(await part.read())))
    return parts
