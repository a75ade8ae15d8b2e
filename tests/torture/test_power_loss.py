"""The short form of the power failures, and that the bench sees a loss where there is one."""

import random

import pytest

from tests.torture import spool_crashes
from tests.torture.power_loss import recording

_SEED = "power"
_IMAGES = 50


@pytest.mark.parametrize("accept", ["delivered", "spooled"])
def test_whatever_a_power_failure_leaves_has_all_mail_that_was_acknowledged(accept):
    with recording(accept, seed=_SEED) as recorded:
        for number, verdict in enumerate(recorded.images(_IMAGES, random.Random(_SEED))):
            assert verdict.is_clean, f"image {number}: {verdict}"
            assert verdict.acked or verdict.unknown


@pytest.mark.parametrize("accept", ["delivered", "spooled"])
def test_where_syncs_do_nothing_mail_is_lost(accept):
    with recording(accept, seed=_SEED, count=5, lies=True) as recorded:
        assert any(verdict.lost for verdict in recorded.images(_IMAGES, random.Random(_SEED)))


@pytest.mark.parametrize("accept", ["delivered", "spooled"])
def test_after_a_sync_that_failed_nothing_is_acknowledged_on_the_word_of_a_second_one(accept):
    for at in (1, 4, 7, 10, 16, 25):
        with recording(accept, seed=_SEED, count=6, failing_sync=at) as recorded:
            for number, verdict in enumerate(recorded.images(10, random.Random(_SEED))):
                assert verdict.is_clean, f"a sync failed after {at} calls, image {number}: {verdict}"


def test_a_start_makes_up_for_the_syncs_that_a_kill_kept_an_earlier_one_from():
    chance = random.Random(_SEED)
    # Until the spool has its directories and its database.
    for at in range(1, 13):
        spool_crashes.lose_power(killed_at=at, images=3, chance=chance)
