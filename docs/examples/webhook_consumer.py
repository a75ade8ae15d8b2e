"""A consumer of mails from the HTTP connector: checks each signature, then shows the mail. Copy what you need.

    export WEBHOOK_SECRETS="whsec_$(openssl rand -base64 32)"
    uvicorn webhook_consumer:app --port 8000

    [[connector]]
    name = "consumer"
    type = "http"
    url = "http://127.0.0.1:8000/mail"
    secrets = ["whsec_…"]    # the same one; while a new one replaces it, both stand here and, with a space, above

What it answers is the answer to the SMTP client: 2xx is 250, 5xx "try again later", 4xx a refusal in the given words.
"""

import base64
import hmac
import json
import os
import re
import time
from collections.abc import Mapping
from email.parser import BytesHeaderParser

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response

MAXIMUM_BYTES = 64 * 1024 * 1024
TOLERANCE_SECONDS = 300
# Header sections are written by strangers: what is shown of one is bounded.
SHOWN_BYTES = 16 * 1024

KEYS = [base64.b64decode(secret.removeprefix("whsec_")) for secret in os.environ["WEBHOOK_SECRETS"].split()]
if not KEYS or min(map(len, KEYS)) < 24:
    raise SystemExit("WEBHOOK_SECRETS needs whsec_ secrets of at least 24 octets: with less, anybody could sign")

app = FastAPI()


@app.post("/mail")
async def receive(request: Request) -> Response:
    body = bytearray()
    async for block in request.stream():
        body += block
        if len(body) > MAXIMUM_BYTES:
            return PlainTextResponse("This mail is too big for us", 413)
    # The signature is over the octets as they came: check it before anything is decoded.
    if not is_genuine(request.headers, body):
        # Not 401, which would refuse the mail for good: a key changed on one side only is no fault of the mail.
        return PlainTextResponse("The signature is not ours or too old", 503)
    mail_id = request.headers["webhook-id"]
    # The same mail comes again, under the same id, when our answer to it got lost. So store it here under a unique key,
    #     INSERT INTO mail (id, content) VALUES (:mail_id, :content) ON CONFLICT DO NOTHING
    # and answer 2xx also when it was there already, but never before it is safe: nobody else has it any more then.
    show(mail_id, mail_content(request.headers["content-type"], body))
    return JSONResponse({"id": mail_id})


def is_genuine(headers: Mapping[str, str], body: bytes | bytearray) -> bool:
    """Standard Webhooks: a signature by one of our keys over `id.timestamp.body`, not older than five minutes."""
    timestamp = headers.get("webhook-timestamp", "")
    if not re.fullmatch("[0-9]{1,12}", timestamp) or abs(time.time() - int(timestamp)) > TOLERANCE_SECONDS:
        return False
    given = headers.get("webhook-signature", "").encode().split()
    for key in KEYS:
        mac = hmac.new(key, f"{headers.get('webhook-id', '')}.{timestamp}.".encode(), "sha256")
        mac.update(body)
        expected = b"v1," + base64.b64encode(mac.digest())
        if any(hmac.compare_digest(expected, signature) for signature in given):
            return True
    return False


def mail_content(content_type: str, body: bytes | bytearray) -> bytes:
    """The mail as it was received, from any format of the connector; a consumer of its own needs one of these."""
    match content_type.partition(";")[0]:
        case "application/json":
            return base64.b64decode(json.loads(body)["message"]["content"])
        case "application/cloudevents+json":
            return base64.b64decode(json.loads(body)["data"]["message"]["content"])
        case "multipart/form-data":
            boundary = content_type.partition("boundary=")[2].encode()
            parts = bytes(body).split(b"--" + boundary)
            content = next(part for part in parts if b'name="content"' in part.partition(b"\r\n\r\n")[0])
            return content.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n")
        case _:
            return bytes(body)


def show(mail_id: str, content: bytes) -> None:
    header = BytesHeaderParser().parsebytes(content[:SHOWN_BYTES])
    print(f"mail {mail_id}, {len(content)} octets")
    for name in ("From", "To", "Subject"):
        # Quoted, so that no mail can write to a terminal.
        print(f"    {name}: {str(header[name] or '')!a}")
