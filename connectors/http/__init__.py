"""Each mail is one signed POST request, and the consumer's status is the answer to the SMTP client.

    2xx                   accepted: the consumer has the mail
    408, 425, 429, 5xx    try again later; so also where no answer comes in time, or none at all
    3xx                   try again later: redirections are not followed
    any other 4xx         refused for good, in the consumer's own words where it gives a line of text/plain

Requests are signed by the Standard Webhooks specification. `webhook-id` is the mail's id and stays the same at every
attempt: by it a consumer recognises a mail that comes again. `docs/examples/webhook_consumer.py` is a consumer to start
from. What a request holds in each format is written at `connectors.http.request`.
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
