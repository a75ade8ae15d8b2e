"""The HTTP connector: each mail is one signed POST, and the consumer's status is the answer to the SMTP client.

settings     the keys of its table, checked
credentials  signing keys, Authorization, TLS, read from settings and files when it is opened
request      the mapping from a mail to headers and body, in four formats
signature    Standard Webhooks
client       the connector itself
outcome      what an answer means
failures     what goes wrong without an answer
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
