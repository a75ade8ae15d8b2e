"""When a destination is suspected, how long it is left alone, and what ends both."""

import pytest

from gateway.connector import TransientFailure
from gateway.delivery.health import Health
from gateway.status import DESTINATION_UNREACHABLE

DOWN = TransientFailure(DESTINATION_UNREACHABLE, "down")


@pytest.fixture
def health():
    return Health("one")


def fail(health, times=1):
    for _ in range(times):
        health.failed(DOWN, health.trials)


def test_a_few_failures_in_a_row_are_the_mails(health):
    fail(health, 7)
    assert not health.is_suspected
    assert health.rest_seconds == 0


def test_a_success_in_between_begins_the_count_anew(health):
    fail(health, 7)
    health.succeeded()
    fail(health, 7)
    assert not health.is_suspected


def test_trials_come_further_and_further_apart_up_to_a_minute(health):
    fail(health, 8)
    assert 0 < health.rest_seconds < 1.2
    fail(health)
    assert 1.5 < health.rest_seconds < 2.3
    fail(health, 20)
    assert 59 < health.rest_seconds < 67


def test_what_failed_together_counts_once(health):
    fail(health, 7)
    for _ in range(100):
        health.failed(DOWN, 0)
    assert health.trials == 1


def test_trials_are_with_the_last_and_the_first_in_turns(health):
    fail(health, 8)
    first = health.tries_the_latest
    fail(health)
    assert (first, health.tries_the_latest) == (True, False)


def test_a_destination_that_asks_for_time_is_asked_again_within_the_hour(health):
    health.failed(TransientFailure(DESTINATION_UNREACHABLE, "later", retry_after_seconds=86_400), 0)
    assert 3590 < health.rest_seconds <= 3600
    health.end_rest()
    assert health.rest_seconds == 0
