"""Faults in a real Airflow on the local cloud: one job for each try of the work, whatever happens.

The rows are those of docs/reliability.md. Several of them meet one run, one after the other, and
all runs go on side by side: after each fault the jobs are counted, and in the end the results.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests.e2e.faults.pipeline import TOTAL
from tests.e2e.faults.playing import Outcome, play_all
from tests.e2e.faults.published import Published, expected, publish
from tests.e2e.faults.rows import CHAINS
from tests.e2e.faults.stand import started_stand

_ACTIVE = {"QUEUED", "PENDING", "RUNNING"}


@pytest.fixture(scope="module")
def played(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[dict[str, Outcome], Future[Published]]]:
    home = tmp_path_factory.mktemp("faults")
    with started_stand(home) as stand, ThreadPoolExecutor(1) as pool:
        published = pool.submit(publish, stand, home)
        outcomes = play_all(
            stand,
            CHAINS,
            ("ours",),
            at_once=4,
            # Which kills its tasks too, at other moments than that which is meant.
            before_components=published.exception,
        )
        yield {outcome.row.id: outcome for outcome in outcomes}, published


def assert_jobs(outcome: Outcome) -> None:
    """The fault has made those jobs that it has to make, and no more; one runs, or none did yet."""
    assert outcome.seen is not None
    earlier = outcome.before.jobs[:-1] if outcome.before else ()
    jobs = outcome.seen.jobs
    if outcome.is_end:
        assert jobs == (*earlier, *outcome.row.jobs)
    elif jobs:
        assert jobs[:-1] == (*earlier, *outcome.row.jobs[:-1])
        assert jobs[-1] in _ACTIVE
    else:
        assert outcome.row.settings.is_held_back


@pytest.mark.parametrize(
    "row", [pytest.param(row.id, id=row.id) for chain in CHAINS for row in chain]
)
def test_one_job_for_each_try_of_the_work(
    played: tuple[dict[str, Outcome], Future[Published]], row: str
) -> None:
    outcome = played[0][row]
    assert not outcome.error
    assert outcome.seen is not None
    assert_jobs(outcome)
    tries = outcome.before.tries if outcome.before else 1
    if outcome.row.is_ridden_out:
        assert outcome.seen.tries == tries
    elif outcome.row.results:
        assert outcome.seen.tries > tries
    if outcome.is_end:
        assert outcome.seen.task == outcome.row.task
        assert outcome.seen.sums == (TOTAL,) * outcome.row.results
    else:
        assert outcome.seen.task in {"running", "deferred"}
        assert outcome.seen.sums == ()


def test_a_dataset_is_published_right_after_a_kill(
    played: tuple[dict[str, Outcome], Future[Published]],
) -> None:
    published = played[1].result()
    assert published.jobs == ("DONE",)
    assert (published.tries, published.run) == (2, "success")
    assert published.rows == expected()
