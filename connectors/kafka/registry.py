"""A schema registry that speaks the API of Confluent's: who sends Avro registers the schema and gets its id."""

import json
import ssl
from base64 import b64encode
from functools import partial
from http import HTTPStatus
from urllib.parse import quote

import aiohttp
import msgspec
from pydantic import SecretStr

from connectors.kafka import failures
from connectors.kafka.attempt import SharedAttempt
from gateway.codec import avro_v1

__all__ = ["SchemaRegistry"]

_SECONDS = 10.0
_LONGEST_ANSWER = 64 * 1024


class _Registered(msgspec.Struct):
    id: int


class SchemaRegistry:
    """Gives the id of the envelope's schema. Each subject is registered once and kept."""

    def __init__(self, url: str, *, username: str, password: SecretStr, tls: ssl.SSLContext) -> None:
        self._url = url
        self._username = username
        self._password = password
        self._tls = tls
        self._ids: dict[str, SharedAttempt[int]] = {}
        self._schema = json.dumps({"schemaType": "AVRO", "schema": json.dumps(avro_v1.SCHEMA)}).encode()

    async def schema_id(self, topic: str) -> int:
        """The id under the subject of `topic`'s values. Raises TransientFailure."""
        # Confluent's default naming: one subject for the values of each topic.
        subject = f"{topic}-value"
        if subject not in self._ids:
            self._ids[subject] = SharedAttempt(partial(self._register, subject))
        return await self._ids[subject].result()

    async def close(self) -> None:
        """End the requests that are under way."""
        for attempt in self._ids.values():
            await attempt.stop()

    async def _register(self, subject: str) -> int:
        where = f"schema registry, subject {subject}"
        try:
            status, answer = await self._post(f"{self._url}/subjects/{quote(subject, safe='')}/versions")
        except (aiohttp.ClientError, TimeoutError) as error:
            raise failures.unreachable(f"{where}: {type(error).__name__}: {error}") from error
        if status == HTTPStatus.OK:
            try:
                return msgspec.json.decode(answer, type=_Registered).id
            except msgspec.DecodeError as error:
                raise failures.misconfigured(f"{where}: no id in the answer: {error}") from error
        said = ascii(answer[:200].decode(errors="replace"))
        raise failures.misconfigured(f"{where}: status {status}: {said}")

    async def _post(self, url: str) -> tuple[int, bytes]:
        # A session for each: there is one request per topic and run of the gateway.
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_SECONDS)) as session,
            session.post(
                url, data=self._schema, headers=self._headers(), ssl=self._tls, allow_redirects=False
            ) as response,
        ):
            answer = bytearray()
            async for block in response.content.iter_any():
                answer += block
                if len(answer) > _LONGEST_ANSWER:
                    break
            return response.status, bytes(answer)

    def _headers(self) -> dict[str, str]:
        headers = {"Content-Type": "application/vnd.schemaregistry.v1+json"}
        if self._username:
            # RFC 7617 §2 and §2.1: user-id, colon, password, in UTF-8.
            login = f"{self._username}:{self._password.get_secret_value()}"
            headers["Authorization"] = f"Basic {b64encode(login.encode()).decode()}"
        return headers
