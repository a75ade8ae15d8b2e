from datetime import UTC, datetime
from urllib.parse import quote

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from connectors.s3.signature import Key, signed

SIGNED_VALUES = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1).filter(str.strip)


def key(**changes):
    given = {
        "access_key": "AKIAIOSFODNN7EXAMPLE",
        "secret_key": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        "token": "",
        "region": "us-east-1",
        "service": "s3",
    }
    return Key(**{**given, **changes})


def test_the_published_example_of_putting_an_object():
    """https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html"""
    headers = {
        "Host": "examplebucket.s3.amazonaws.com",
        "Date": "Fri, 24 May 2013 00:00:00 GMT",
        "x-amz-storage-class": "REDUCED_REDUNDANCY",
    }
    now = datetime(2013, 5, 24, tzinfo=UTC)
    found = signed("PUT", "/test%24file.text", headers, b"Welcome to Amazon S3.", key(), now)
    assert found["authorization"] == (
        "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, "
        "SignedHeaders=date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class, "
        "Signature=98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"
    )


@given(
    name=st.text(min_size=1),
    body=st.binary(),
    value=SIGNED_VALUES,
    secret=st.text(min_size=1),
    token=st.sampled_from(["", "a token"]),
)
def test_a_signature_is_that_of_the_sdk(name, body, value, secret, token):
    path = "/bucket/" + quote(name.encode("utf-8", "surrogatepass"), safe="/~")
    headers = {"host": "store.internal:9000", "content-type": "message/rfc822", "x-amz-tagging": value}
    request = AWSRequest("PUT", f"http://store.internal:9000{path}", headers=headers, data=body)
    S3SigV4Auth(Credentials("AKIA", secret, token), "s3", "eu-west-1").add_auth(request)
    moment = datetime.strptime(request.headers["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    ours = key(access_key="AKIA", secret_key=secret, token=token, region="eu-west-1")
    assert signed("PUT", path, headers, body, ours, moment) == {
        name.lower(): value for name, value in request.headers.items()
    }


def test_no_secret_is_in_a_representation():
    assert "canary" not in repr(key(secret_key="canary", token="canary"))
