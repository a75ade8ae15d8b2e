"""A consumer over HTTP: each mail is one signed POST, and what the consumer answers decides about it.

    the consumer says            on a route "delivered"            on a route "spooled"
    2xx                          250, with the `id` of a JSON      the mail is delivered
                                 answer and its Location
    408, 425, 429, 5xx, 3xx,     451, and the client comes again   it comes again after 5 s, 5 min, 30 min, 2, 5, 10,
    no answer in time, no answer                                   14, 20 and 24 h, then daily; after five days it is
                                                                   a dead letter
    410                          550                               nothing is sent any more until an operator looked
    any other 4xx                550, in the first line of an      a dead letter at once
                                 answer of type text/plain

A consumer that wants a mail again says 429 or 5xx, one that never wants it another 4xx: 401, 403 and 404 are refusals
too, so a consumer that cannot verify a request answers 503 while secrets change. A dead letter is the whole mail, kept
in the spool, and an operator can have it tried again. On 429, 502, 503 and 504 a Retry-After, in seconds or as a date,
is obeyed, up to a day.

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
from gateway.connector import STANDARD_WEBHOOKS, Connector, ConnectorType

__all__ = ["CONNECTOR", "HttpSettings"]


def _build(settings: HttpSettings, _: Mapping[str, Connector]) -> Connector:
    from connectors.http.connector import HttpConnector  # noqa: PLC0415  # aiohttp comes with the extra `http`

    return HttpConnector(settings)


CONNECTOR = ConnectorType(
    name="http",
    summary="POST each mail, signed, to a consumer whose status decides about it.",
    stability="beta",
    settings=HttpSettings,
    build=_build,
    max_in_flight=MAX_IN_FLIGHT,
    # Not its Location: a consumer may well put something secret into a URL.
    coordinates=("status", "id"),
    retries=STANDARD_WEBHOOKS,
)
