"""A disk that takes two seconds for a sync: those who wait for it wait, and nobody else does."""

from tests.bench.slow_disk import ACCEPTED_SECONDS, measure

# A machine under load has slow moments; a session that waited for the disk would do so each time.
TRIALS = 3


def test_other_sessions_do_not_wait_for_the_disk(tmp_path):
    for trial in range(TRIALS):
        folder = tmp_path / str(trial)
        folder.mkdir()
        measured = measure(folder, rounds=1, clients=6)
        assert all(reply.startswith("250") for reply in measured.replies), measured
        # They have waited for it, and not once each: a commit is for all who came meanwhile.
        assert min(measured.mails) >= 2, measured
        assert max(measured.mails) < 60, measured
        if measured.p99 < ACCEPTED_SECONDS:
            return
    raise AssertionError(f"another session waited: {measured}")
