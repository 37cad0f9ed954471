"""The faults: each a row of the table in docs/reliability.md."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from tests.e2e.faults.injections import (
    TOO_LATE_SECONDS,
    cancel_outside,
    clear,
    fail,
    fail_calls,
    fail_launch,
    kill_after_job,
    kill_before_id_is_stored,
    kill_before_submission,
    kill_during_creation,
    kill_resumed,
    kill_supervisor,
    kill_while_polling,
    kill_with_supervisor,
    kill_worker,
    lose_job,
    mark,
    mark_before_submission,
    meet_launch,
    run_out_of_time,
)
from tests.e2e.faults.play import Play, Settings

Component = Literal["api-server", "scheduler", "triggerer"]
_WAITING, _DEFERRED = Settings(), Settings(deferred=True)
_HELD = Settings(is_held_back=True)


@dataclass(frozen=True)
class Row:
    """A fault, and what has to become of our run.

    Attributes:
        id: Of the row, and of its test.
        fault: What happens, in words.
        settings: How the run is started.
        inject: Does it.
        jobs: The states of all jobs, the oldest first, when the run is over.
        task: The task's state then.
        results: How many jobs have written a result.
        prepare: Does what comes before the run.
        component: The part of Airflow that is killed, in place of `inject`.
        is_alone: Whether it would harm other runs at the same time.
        is_ridden_out: Whether the same try of our task goes on.
        is_final: Whether nothing else can be done to the run after it.
        is_held: Whether the job goes on for ever: that it is left running is seen.
    """

    id: str
    fault: str
    settings: Settings
    inject: Callable[[Play], None] = field(default=lambda play: play.until_it_waits())
    jobs: tuple[str, ...] = ("DONE",)
    task: str = "success"
    results: int = 1
    prepare: Callable[[Play], None] = field(default=lambda _: None)
    component: Component | None = None
    is_alone: bool = False
    is_ridden_out: bool = False
    is_final: bool = False
    is_held: bool = False


def _launching(id_: str, fault: str, *, of: str, method: str, region: str = "", **how: Any) -> Row:
    """The row of calls that fail while the job is launched."""
    return Row(
        id_,
        fault,
        Settings(region=region) if region else _WAITING,
        meet_launch(of, method),
        prepare=fail_launch(of, method, **how),
        # No token tells for which run it is.
        is_alone=of == "gateway",
        is_ridden_out=True,
    )


def _calls_of_jobs(id_: str, fault: str, region: str, method: str, **how: Any) -> Row:
    # The region is one without other jobs: those of a call to create one are told by nothing else.
    name = f"dataflow.projects.locations.jobs.{method}"
    return _launching(id_, fault, of="dataflow", method=name, region=region, **how)


def _calls_of_storage(id_: str, fault: str, **how: Any) -> Row:
    return _launching(id_, fault, of="storage", method="storage.objects.insert", **how)


def _both(
    name: str,
    fault: str,
    inject: Callable[[Play], None],
    *,
    jobs: tuple[str, ...] = ("DONE",),
    task: str = "success",
    results: int = 1,
    is_final: bool = False,
    is_ridden_out: bool = False,
    is_limited: bool = False,
    fails: bool = False,
) -> list[Row]:
    """The rows of a fault to a task that waits, and to one that is deferred."""
    return [
        Row(
            f"{name}-{mode}",
            f"{fault}, {mode}",
            Settings(deferred=mode == "deferred", is_limited=is_limited, fails=fails),
            inject,
            jobs,
            task,
            results,
            is_final=is_final,
            is_held=not results,
            is_ridden_out=is_ridden_out,
        )
        for mode in ("waiting", "deferred")
    ]


def _killed(component: Component, settings: Settings) -> Row:
    """The row of a part of Airflow that is killed, the tasks of the scheduler's among it."""
    mode = "deferred" if settings.deferred else "waiting"
    return Row(
        f"kill-{component}-{mode}",
        f"SIGKILL and restart of the {component}, {mode}",
        settings,
        component=component,
        is_ridden_out=(component, mode) != ("scheduler", "waiting"),
    )


_AGAIN = ("CANCELLED", "DONE")

ROWS: tuple[Row, ...] = (
    Row(
        "kill-before-submission",
        "SIGKILL before the job is submitted",
        _HELD,
        kill_before_submission,
    ),
    Row(
        "kill-before-id-is-stored",
        "SIGKILL when the job is created and its id not yet stored",
        _HELD,
        kill_before_id_is_stored,
    ),
    Row(
        "kill-during-creation",
        "SIGKILL while jobs.create is under way, which takes 25 s",
        Settings(is_held_back=True, region="europe-west9"),
        kill_during_creation,
    ),
    Row("kill-while-polling", "SIGKILL while the task polls", _WAITING, kill_while_polling),
    Row(
        "kill-after-job",
        "SIGKILL when the job is done, before the task has noticed",
        _WAITING,
        kill_after_job,
        is_final=True,
    ),
    Row(
        "kill-resumed",
        "SIGKILL when the deferred task goes on after the job's end",
        _DEFERRED,
        kill_resumed,
        is_final=True,
    ),
    Row(
        "kill-with-supervisor",
        "SIGKILL of the task and Airflow's supervisor of it",
        _WAITING,
        kill_with_supervisor,
    ),
    Row(
        "kill-supervisor",
        "SIGKILL of the supervisor alone: the task's process lives on",
        _WAITING,
        kill_supervisor,
    ),
    _killed("triggerer", _DEFERRED),
    _killed("api-server", _WAITING),
    _killed("api-server", _DEFERRED),
    _killed("scheduler", _WAITING),
    _killed("scheduler", _DEFERRED),
    *_both(
        "job-fails",
        "The job fails, and would succeed another time",
        fail,
        jobs=("FAILED", "DONE"),
        fails=True,
    ),
    *_both("job-is-cancelled", "The job is cancelled with gcloud", cancel_outside, jobs=_AGAIN),
    *_both("job-vanishes", "The job vanishes from Dataflow", lose_job),
    Row(
        "worker-killed", "A worker of the job is killed", _WAITING, kill_worker, is_ridden_out=True
    ),
    *_both(
        "marked-failed",
        "The task is marked failed",
        mark("failed"),
        jobs=("CANCELLED",),
        task="failed",
        results=0,
        is_final=True,
    ),
    Row(
        "marked-failed-launching",
        "The task is marked failed before the job is submitted",
        _HELD,
        mark_before_submission,
        jobs=(),
        task="failed",
        results=0,
        is_final=True,
        is_held=True,
    ),
    *_both(
        "marked-success",
        "The task is marked successful",
        mark("success"),
        jobs=("CANCELLED",),
        results=0,
        is_final=True,
    ),
    *_both("cleared", "The task is cleared", clear, jobs=_AGAIN),
    *_both(
        "out-of-time",
        "`execution_timeout`, and time enough in the next try",
        run_out_of_time,
        jobs=_AGAIN,
        is_limited=True,
    ),
    *_both(
        "get-503",
        "jobs.get answers 503 three times",
        fail_calls("jobs.get", status=503, times=3),
        is_ridden_out=True,
    ),
    *_both(
        "get-dropped",
        "jobs.get loses its connection three times",
        fail_calls("jobs.get", drop="response", times=3),
        is_ridden_out=True,
    ),
    *_both(
        "get-hangs",
        "jobs.get does not answer for 65 s",
        fail_calls("jobs.get", delay=TOO_LATE_SECONDS, times=1),
        is_ridden_out=True,
    ),
    _calls_of_jobs(
        "list-503", "jobs.list answers 503 twice", "europe-west1", "list", status=503, times=2
    ),
    _calls_of_jobs(
        "list-dropped",
        "jobs.list loses its connection twice",
        "europe-west2",
        "list",
        drop="response",
        times=2,
    ),
    _calls_of_jobs(
        "create-503", "jobs.create answers 503 twice", "europe-west3", "create", status=503, times=2
    ),
    _calls_of_jobs(
        "create-request-lost",
        "jobs.create loses its connection before the job is created",
        "europe-west4",
        "create",
        drop="request",
        times=1,
    ),
    _calls_of_jobs(
        "create-answer-lost",
        "jobs.create loses its connection when the job is created",
        "europe-west8",
        "create",
        drop="response",
        times=1,
    ),
    replace(
        _calls_of_jobs(
            "create-403",
            "jobs.create answers 403 once",
            "europe-west6",
            "create",
            status=403,
            times=1,
        ),
        jobs=(),
        task="failed",
        results=0,
        is_ridden_out=False,
        is_final=True,
    ),
    _calls_of_storage(
        "storage-503", "Storage answers 503 twice while the pipeline is staged", status=503, times=2
    ),
    _calls_of_storage(
        "storage-dropped",
        "Storage loses its connection twice while the pipeline is staged",
        drop="request",
        times=2,
    ),
    _launching(
        "tokens-500-launching",
        "The token endpoint answers 500 three times at the start",
        of="gateway",
        method="oauth2.token",
        status=500,
        times=3,
    ),
)

_BY_ID = {row.id: row for row in ROWS}

# The rows that are tests, those of a line in one run: so they take minutes of a processor, and not
# a quarter of an hour.
CHAINS: tuple[tuple[Row, ...], ...] = tuple(
    tuple(_BY_ID[name] for name in names.split())
    for names in (
        "kill-before-submission kill-before-id-is-stored kill-while-polling kill-api-server-waiting"
        " kill-scheduler-waiting kill-after-job",
        "get-503-deferred get-dropped-deferred kill-api-server-deferred"
        " kill-triggerer-deferred kill-scheduler-deferred kill-resumed",
        "create-answer-lost list-503 storage-503 tokens-500-launching get-503-waiting"
        " worker-killed",
        "job-vanishes-waiting job-is-cancelled-waiting cleared-waiting marked-failed-waiting",
        "cleared-deferred job-fails-deferred",
        "job-vanishes-deferred marked-success-deferred",
        "out-of-time-waiting",
    )
)
IN_SUITE = frozenset(row.id for chain in CHAINS for row in chain)
