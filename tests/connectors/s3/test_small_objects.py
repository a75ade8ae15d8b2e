"""Small objects go a shorter way than the SDK's: the store gets the same; what is unknown goes the SDK's."""

import hashlib
import io
from concurrent.futures import CancelledError
from datetime import UTC, datetime
from itertools import product
from types import SimpleNamespace

import pytest
from botocore.awsrequest import AWSResponse
from botocore.credentials import ReadOnlyCredentials
from botocore.exceptions import ClientError
from urllib3 import HTTPResponse

from connectors.s3 import S3Settings, failures
from connectors.s3.bucket import Bucket
from connectors.s3.objects import S3Object, terms
from connectors.s3.small_objects import SmallObjects
from connectors.s3.threads import Permit
from gateway.envelope import BLOCK, Content

NOW = datetime(2026, 11, 21, 10, tzinfo=UTC)
OCTETS = b"Subject: hello\r\n\r\nHello.\r\n"
ATTEMPTS = " (reached max retries: 0)"
BUSY = b"<Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>"
SESSION = b"""<CreateSessionResult><Credentials><AccessKeyId>A</AccessKeyId><SecretAccessKey>s</SecretAccessKey>
<SessionToken>t</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></CreateSessionResult>"""
OPERATED = [
    {},
    {"storage_class": "STANDARD_IA", "sse": "aws:kms", "kms_key_id": "alias/mail"},
    {"sse": "AES256", "tags": {"source": "mail", "cost centre": "a/b = c+d"}},
    {"object_lock_mode": "COMPLIANCE", "object_lock_days": 30},
    {"path_style": False},
    {"endpoint_url": "https://store.internal:443/below/"},
    {"endpoint_url": "http://[::1]:9000"},
    {"endpoint_url": "", "region": "eu-central-1"},
    {"endpoint_url": "", "path_style": False, "bucket": "mail.example.org"},
    {"endpoint_url": "", "path_style": False, "bucket": "arn:aws:s3:us-east-1:123456789012:accesspoint/mail"},
]


class Recorder:
    """A bucket of these settings, without a network: what is sent is kept, and answered by a function."""

    def __init__(self, **keys):
        given = {
            "name": "archive",
            "bucket": "mail",
            "endpoint_url": "http://store.internal",
            "region": "us-east-1",
            "path_style": True,
            "access_key_id": "AKIA",
            "secret_access_key": "secret",
        }
        self.settings = S3Settings(**{**given, **keys})
        self.bucket = Bucket(self.settings)
        self.sent = []
        self.answer = lambda request: (200, {"ETag": '"e"'}, b"")
        self.bucket._store._client._endpoint.http_session.send = self._send

    def _send(self, request):
        self.sent.append(request)
        status, headers, body = self.answer(request)
        return AWSResponse(request.url, status, headers, HTTPResponse(io.BytesIO(body), preload_content=False))

    def put(self, octets=OCTETS, key="2026/11/21/a b+c~ü=(1).eml", **more):
        digest = hashlib.sha256(octets).hexdigest()
        item = S3Object(key=key, content=Content(octets), sha256=digest, media_type="message/rfc822")
        return self.bucket._put_whole(item, {**terms(self.settings, NOW), **more}, Permit())

    @property
    def ways(self):
        """Of each request whether the SDK made it."""
        return ["amz-sdk-invocation-id" in request.headers for request in self.sent]


@pytest.fixture
def opened():
    def open_with(**keys):
        recorder = Recorder(**keys)
        recorder.bucket.check()
        recorder.sent.clear()
        return recorder

    return open_with


@pytest.fixture
def by_the_sdk(monkeypatch):
    def switch():
        monkeypatch.setattr(SmallObjects, "put", lambda *_: None)

    return switch


def essence(request):
    headers = {
        name.lower(): value.decode() if isinstance(value, bytes) else value for name, value in request.headers.items()
    }
    for name in ("amz-sdk-invocation-id", "amz-sdk-request", "x-amz-date"):
        headers.pop(name, None)
    # The signatures differ by the SDK's own headers.
    headers["authorization"] = headers["authorization"].partition(",")[0]
    # An empty one is none.
    body = request.body or b""
    return request.method, request.url, headers, body if isinstance(body, bytes) else body.read()


@pytest.mark.parametrize("keys", OPERATED, ids=str)
def test_the_store_gets_the_same_either_way(opened, by_the_sdk, keys):
    recorder = opened(**keys)
    recorder.put()
    recorder.bucket.put_mark("content/mark", Permit(), only_first=True)
    by_the_sdk()
    recorder.put()
    recorder.bucket.put_mark("content/mark", Permit(), only_first=True)
    assert recorder.ways == [False, False, True, True]
    short, short_mark, long, long_mark = map(essence, recorder.sent)
    assert short == long
    assert short_mark == long_mark


@pytest.mark.parametrize("body", [b"", b"<PutObjectResult/>"], ids=str)
def test_the_answer_is_the_same_either_way(opened, by_the_sdk, body):
    recorder = opened()
    recorder.answer = lambda _: (200, {"ETag": '"e"', "x-amz-version-id": "v"}, body)
    short = recorder.put()
    by_the_sdk()
    long = recorder.put()
    assert short == {name: long[name] for name in ("ETag", "VersionId")}


@pytest.mark.parametrize(
    ("status", "body"),
    [
        *product([400, 403, 409, 412, 429, 500, 502, 503, 507], [BUSY, b"<html>busy</html>", b"", b"<Error><Co"]),
        # Found out after the store had begun to answer.
        *product([200], [BUSY, b"<Error><Co", b"<Err", b"busy", b"\n"]),
    ],
    ids=str,
)
def test_an_error_is_the_same_either_way(opened, by_the_sdk, monkeypatch, status, body):
    monkeypatch.setattr("connectors.s3.store._PAUSES", ())
    recorder = opened()
    recorder.answer = lambda _: (status, {"x-amz-request-id": "r", "ETag": '"e"'}, body)
    errors = []
    for switch in (lambda: None, by_the_sdk):
        switch()
        with pytest.raises((ClientError, failures.OutcomeUnknown)) as caught:
            recorder.put()
        errors.append(getattr(caught.value, "error", caught.value))
    short, long = errors
    # The SDK counts its own repeats, which are none.
    assert str(short).replace(ATTEMPTS, "") == str(long).replace(ATTEMPTS, "")
    assert short.response["Error"] == long.response["Error"]
    assert failures._http_status(short) == failures._http_status(long)


def test_credentials_of_the_environment_are_used_with_their_token(opened, by_the_sdk, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "ASIA")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token")
    recorder = opened(access_key_id="", secret_access_key="")
    recorder.put()
    by_the_sdk()
    recorder.put()
    short, long = map(essence, recorder.sent)
    assert short == long
    assert short[2]["x-amz-security-token"] == "token"


def test_credentials_that_were_refreshed_are_used_at_once(opened):
    recorder = opened()
    keys = iter(["FIRST", "SECOND"])
    recorder.bucket._store._small_objects._credentials = SimpleNamespace(
        get_frozen_credentials=lambda: ReadOnlyCredentials(next(keys), "secret", None)
    )
    recorder.put()
    recorder.put()
    assert ["FIRST" in recorder.sent[0].headers["authorization"], "SECOND" in recorder.sent[1].headers["authorization"]]


@pytest.mark.parametrize(
    "more",
    [
        {"octets": b"x" * (BLOCK + 1)},
        {"CacheControl": "no-store"},
        {"SSEKMSKeyId": "schlüssel"},
        {"StorageClass": "A\r\nx-amz-acl: public-read"},
    ],
    ids=["content from a file", "a parameter", "a character", "a line"],
)
def test_what_the_shorter_way_does_not_know_goes_the_sdks(opened, more):
    recorder = opened()
    recorder.put(**more)
    assert recorder.ways == [True]


def test_before_the_bucket_was_looked_at_the_sdk_sends():
    recorder = Recorder()
    recorder.put()
    assert recorder.ways == [True]


def test_a_directory_bucket_whose_signature_is_of_another_kind_is_left_to_the_sdk():
    recorder = Recorder(bucket="mail--usw2-az1--x-s3", endpoint_url="", region="us-west-2", path_style=False)
    recorder.answer = lambda request: (200, {"ETag": '"e"'}, SESSION if request.url.endswith("?session") else b"")
    recorder.bucket.check()
    recorder.sent.clear()
    recorder.put()
    assert recorder.ways == [True]


@pytest.fixture
def in_ireland():
    """What a bucket in eu-west-1 answers, anywhere."""

    def answer(request):
        if "eu-west-1" in request.url:
            return 200, {"ETag": '"e"'}, b""
        return 301, {"x-amz-bucket-region": "eu-west-1"}, b"<Error><Code>PermanentRedirect</Code></Error>"

    return answer


def test_the_region_that_the_sdk_found_is_the_one_to_go_to(in_ireland):
    recorder = Recorder(endpoint_url="")
    recorder.answer = in_ireland
    recorder.bucket.check()
    recorder.sent.clear()
    recorder.put()
    assert recorder.ways == [False]
    assert "eu-west-1" in recorder.sent[0].url
    assert "/eu-west-1/s3/" in recorder.sent[0].headers["authorization"]


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (307, "TemporaryRedirect"),
        (400, "AuthorizationHeaderMalformed"),
        (400, "IllegalLocationConstraintException"),
    ],
)
def test_after_a_redirection_the_sdk_takes_over(opened, in_ireland, status, code):
    recorder = opened(endpoint_url="")
    recorder.answer = lambda request: (
        in_ireland(request)
        if "amz-sdk-invocation-id" in request.headers
        else (status, {}, f"<Error><Code>{code}</Code></Error>".encode())
    )
    for _ in range(2):
        assert recorder.put()["ETag"] == '"e"'
    assert recorder.ways == [False, True, True, True]
    assert "eu-west-1" in recorder.sent[-1].url


def test_a_redirection_is_not_followed_after_the_permit_has_ended(opened):
    recorder = opened()
    permit = Permit()

    def redirect(_):
        permit.end()
        return 307, {}, b""

    recorder.answer = redirect
    with pytest.raises(CancelledError):
        recorder.bucket.put_mark("mark", permit)
    assert recorder.ways == [False]
