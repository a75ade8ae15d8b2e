"""The mail that a receipt names: an object, one of a batch, or a content that several share."""

import pytest

from connectors.s3 import CONNECTOR, S3Settings
from gateway.connector import Extent, Spot

SETTINGS = S3Settings(name="archive", type="s3", bucket="mails")
ID = "01KAQ3V4Y2Q1T8Z6H0M5N7P9RB"


def spot(bucket: str = "mails", key: str = "", index: str = "") -> Spot:
    assert CONNECTOR.spot is not None
    location = dict.fromkeys(CONNECTOR.coordinates, "") | {"bucket": bucket, "key": key, "index": index}
    return CONNECTOR.spot(SETTINGS, location)


@pytest.mark.parametrize("prefix", ["", "in/example.org/", "a\nb/"])
def test_a_mail_of_its_own_is_found_by_its_key(prefix):
    place = f"{prefix}2026/11/21/{ID}"
    assert spot(key=f"{place}.eml") == Spot(extent=Extent(prefix=f"{place}."), id=ID)


def test_a_mail_of_a_batch_is_found_by_its_place():
    key = f"2026/11/21/{ID}-20-0123456789abcdef.avro"
    assert spot(key=key, index="7") == Spot(extent=Extent(prefix=key), index=7)


def test_a_shared_content_is_looked_at_by_itself():
    assert spot(key=f"in/content/ab/{'ab' * 32}.eml") == Spot(extent=None)


@pytest.mark.parametrize("key", ["", "x.eml", f"2026/11/21/{ID}.json", f"2026/11/21/{ID}.eml/x"])
def test_another_key_is_none_of_ours(key):
    with pytest.raises(ValueError, match="none that this connector makes"):
        spot(key=key)


@pytest.mark.parametrize("index", ["", "-1", "x", "9" * 10])
def test_a_batch_without_a_place_is_no_mail(index):
    with pytest.raises(ValueError, match="number"):
        spot(key="2026/11/21/x.avro", index=index)


def test_a_receipt_of_another_bucket_is_not_of_this_connector():
    with pytest.raises(ValueError, match="its bucket is mails"):
        spot(bucket="others", key=f"2026/11/21/{ID}.eml")
