"""A consumer over HTTP: each mail is one signed POST, and what the consumer answers is the answer to the SMTP client.

    2xx                          the consumer has the mail: 250, with the `id` of a JSON answer and its Location
    408, 425, 429, 5xx, 3xx,     not now: 451, and the client comes again
    no answer in time, no answer
    any other 4xx                refused for good: 550, in the first line of an answer of type text/plain

401 and 403 refuse for good too, so a consumer that cannot verify a request answers 503 while secrets change.
The same mail comes again under the same `webhook-id` after an answer that got lost, so a consumer stores it under that
id and answers 2xx also when it has it already. Every request is signed by Standard Webhooks: `webhook-signature` over
`id.timestamp.body`, with the body as it came. `docs/examples/webhook_consumer.py` is a consumer to copy.

A JSON body is the envelope of `schemas/envelope.v1.schema.json` with the content inside it. In `raw` the envelope is in
header fields, those of `gateway.codec.raw`: percent-encoded, containers in base64, several values of one name as one
list separated by commas. In `multipart` the files of a form are `envelope` (JSON), `content` (message/rfc822), and
`bmtd-0000`, … for the metadata containers. All but `cloudevents-structured` have the event's attributes in `ce-*`
fields.
"""

from collections.abc import Mapping

from connectors.http.settings import MAX_IN_FLIGHT, HttpSettings
from gateway.connector import Connector, ConnectorType

__all__ = ["CONNECTOR", "HttpSettings"]


def _build(settings: HttpSettings, _: Mapping[str, Connector]) -> Connector:
    from connectors.http.connector import HttpConnector  # noqa: PLC0415  # aiohttp comes with the extra `http`

    return HttpConnector(settings)


CONNECTOR = ConnectorType(
    name="http",
    summary="POST each mail, signed, to a consumer whose status is the answer to the SMTP client.",
    stability="beta",
    settings=HttpSettings,
    build=_build,
    max_in_flight=MAX_IN_FLIGHT,
)
