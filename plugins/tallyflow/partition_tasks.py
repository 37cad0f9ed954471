"""What the tasks of a dataset's DAG do around its Beam job; each is a function of `beam_jobs`.

They run in Airflow's worker, so what is heavy is imported when they do.
"""

from __future__ import annotations

import contextlib
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from beam_jobs.datasets.dataset import load_dataset
from beam_jobs.datasets.dataset_model import Dataset
from beam_jobs.datasets.partition import Grain, Partition
from beam_jobs.datasets.staged_dataset import stage_dataset
from beam_jobs.errors import InputError, TallyflowError, UsageError
from tallyflow.job_usage import JOB_USAGE
from tallyflow.partition_metrics import send_metrics
from tallyflow.partitions import partition_of
from tallyflow.runs import refuse_unknown_fields
from tallyflow.settings import Settings

if TYPE_CHECKING:
    from airflow.sdk import Context
    from airflow.sdk.types import OutletEventAccessorsProtocol, RuntimeTaskInstanceProtocol

    from beam_jobs.publishing.partition_folder import PartitionFolder

_LOG = logging.getLogger(__name__)


def days_asset(dataset: Dataset, grain: Grain) -> Asset:
    """What the rollup to a week or month waits for: the published days of one."""
    name = f"{dataset.name}_days_of_a_{grain}"
    return Asset(name=name, uri=f"tallyflow://{dataset.name}/days-of-a-{grain}")


def partitions_asset(dataset: Dataset, grain: Grain) -> Asset:
    """The published partitions of a dataset, for other teams' DAGs to wait for."""
    name = dataset.name if grain == dataset.grain else f"{dataset.name}_{grain}s"
    return Asset(name=name, uri=f"tallyflow://{dataset.name}/{grain}s")


def attempt_id(run_id: str, try_number: int) -> str:
    """The run id of one attempt of the task `aggregate`, which writes to a folder of its own.

    A task that was cleared after its results were published has to leave those files alone. Which
    try it is that counts, the operator says: one that found the job of an earlier try has its files
    where that has them.
    """
    from beam_jobs.publishing.partition_folder import run_id_of  # noqa: PLC0415

    return f"{run_id_of(run_id)}.{try_number}"


@contextlib.contextmanager
def _no_retry(*kinds: type[TallyflowError]) -> Iterator[None]:
    """Fails the task for good where another try would fail in the same way."""
    permanent: tuple[type[TallyflowError], ...] = (InputError, UsageError, *kinds)
    try:
        yield
    except permanent as error:
        raise AirflowFailException(str(error)) from error


def begin_aggregate(
    context: Context, path: Path, settings: Settings, staged: str | None = None
) -> None:
    """Before the Beam job: checks the form, and does what a dry run asks for.

    Args:
        context: The task's.
        path: The dataset's file.
        settings: Where the job runs.
        staged: Folder for a copy of the file that the job reads; None if it reads the file itself.

    Raises:
        AirflowFailException: The form has an unknown field, or what it asks for is impossible.
        AirflowSkipException: The form asks for a dry run, which is in the log.
    """
    refuse_unknown_fields(context)
    params = context["params"]
    partition = partition_of(load_dataset(path), context["dag_run"], params)
    if not params["dry_run"]:
        if staged is not None:
            stage_dataset(path, staged)
        return
    command = [sys.executable, "-m", "beam_jobs.aggregate_files", f"--dataset={path}"]
    command += [f"--date={partition.key}", f"--storage={settings.storage}", "--describe"]
    if params["pattern"]:
        command.append(f"--input={settings.locate(params['pattern'])}")
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise AirflowFailException(done.stderr.strip())
    _LOG.info("%s", done.stdout)
    raise AirflowSkipException("A dry run: what would be computed is above; nothing was")


def audit_partition(
    path: Path, storage: str, partition: str, run_id: str, *, ti: RuntimeTaskInstanceProtocol
) -> None:
    """The task `audit`: adds to the report of a run what its job used, and checks the numbers.

    The last argument is Airflow's own, which it passes by its name.

    Raises:
        AirflowFailException: A check of severity error failed; trying again changes nothing.
    """
    from beam_jobs.checks.audit import audit  # noqa: PLC0415
    from beam_jobs.publishing.partition_folder import PartitionFolder  # noqa: PLC0415

    dataset = load_dataset(path)
    with _no_retry():
        found = Partition.parse(partition, dataset.grain)
        _add_usage(PartitionFolder(storage, dataset.name, found), run_id, ti)
        audit(dataset, storage, found, run_id)


def _add_usage(folder: PartitionFolder, run_id: str, ti: RuntimeTaskInstanceProtocol) -> None:
    """What the job used is nice to know, and no reason to fail."""
    from beam_jobs.engine.run_report import Usage  # noqa: PLC0415
    from beam_jobs.publishing.run_usage import add_usage  # noqa: PLC0415

    used = ti.xcom_pull(task_ids="aggregate", key=JOB_USAGE)
    if used is None:
        return
    try:
        add_usage(folder, run_id, Usage.model_validate(used))
    except (TallyflowError, ValueError) as error:
        _LOG.warning("%s: what run %s used is not in its report: %s", folder, run_id, error)


def publish_partition(
    path: Path,
    storage: str,
    partition: str,
    run_id: str,
    project: str | None,
    *,
    outlet_events: OutletEventAccessorsProtocol,
) -> list[dict[str, Any]]:
    """The task `publish`: makes the run's results visible, and tells those who wait for them.

    Args:
        path: Of the dataset's file.
        storage: The storage root.
        partition: Its key.
        run_id: Of the run whose results wait to be published.
        project: Of the tables in BigQuery, where the dataset does not name another.
        outlet_events: Airflow's own, which it passes by this name.

    Returns:
        The configuration of a load job of BigQuery's for each aggregate that is to be loaded.

    Raises:
        AirflowFailException: Another run of the partition was published in the meantime.
    """
    from beam_jobs.publishing.partition_folder import PartitionFolder, read_manifest  # noqa: PLC0415
    from beam_jobs.publishing.partition_store import RefusedError, publish  # noqa: PLC0415
    from tallyflow.bigquery import load_jobs  # noqa: PLC0415

    dataset = load_dataset(path)
    found = Partition.parse(partition, dataset.grain)
    folder = PartitionFolder(storage, dataset.name, found)
    with _no_retry(RefusedError):
        version = publish(folder, run_id, dataset.keep_versions)
    _LOG.info("%s: version %d is published: %s rows", folder, version.number, f"{version.rows:,}")
    try:
        send_metrics(folder, version)
    except TallyflowError as error:
        _LOG.warning("%s: its metrics are not sent: %s", folder, error)
    outlet_events[partitions_asset(dataset, dataset.grain)].add_partitions(found.key)
    for grain in dataset.rollups:
        days = list(_days_for_rollup(dataset, storage, Partition.holding(found.start, grain)))
        outlet_events[days_asset(dataset, grain)].add_partitions(days)
    if dataset.bigquery is None:
        return []
    # What readers see: that of a later run, if this task was cleared after it.
    seen = read_manifest(folder)
    version = seen.manifest.version if seen else version
    return load_jobs(dataset, folder, version, dataset.bigquery, project)


def _days_for_rollup(dataset: Dataset, storage: str, period: Partition) -> Iterator[str]:
    """Yield the keys of a period's days that are there, or do not have to be.

    All of them, and not only the day that was just published: a period whose rollup has run needs
    to be told of all its days again, for the rollup to run again.
    """
    from beam_jobs.publishing.published import published  # noqa: PLC0415

    parts = period.parts(dataset.grain)
    there = {
        found.key
        for found, _ in published(storage, dataset.name, dataset.grain, parts[0], parts[-1])
    }
    first = dataset.first_partition.start
    for day in period.parts("day"):
        of_day = day.parts(dataset.grain)
        if all(part.key in there or part.start < first for part in of_day):
            yield day.key


def discard_run(path: Path, storage: str, partition: str, run_id: str) -> None:
    """The task `clean_up`, a teardown: deletes what a run wrote that is not published.

    That is what all attempts of `aggregate` wrote: one whose process was killed left its files.
    What was refused, for its rejects or by its audit, stays to be looked at until a later run of
    the partition is published.
    """
    from beam_jobs.publishing.partition_folder import PartitionFolder  # noqa: PLC0415
    from beam_jobs.publishing.partition_store import discard  # noqa: PLC0415

    dataset = load_dataset(path)
    folder = PartitionFolder(storage, dataset.name, Partition.parse(partition, dataset.grain))
    for attempt in _attempts(run_id):
        if _was_refused(folder.run(attempt)):
            _LOG.warning("What the run wrote is kept, to be looked at: %s", folder.run(attempt))
        elif not discard(folder, attempt):
            _LOG.info("Run %s is published", attempt)


def _attempts(run_id: str) -> list[str]:
    """The ids of an attempt, as `attempt_id` makes them, and of those before it."""
    name, _, number = run_id.rpartition(".")
    return [f"{name}.{one + 1}" for one in range(int(number))] if number.isdecimal() else []


def _was_refused(folder: str) -> bool:
    from beam_jobs.checks.audit_report import AuditReport  # noqa: PLC0415
    from beam_jobs.engine.run_report import RunReport  # noqa: PLC0415
    from beam_jobs.publishing.partition_store import AUDIT, REPORT  # noqa: PLC0415
    from beam_jobs.publishing.stored_documents import find_document  # noqa: PLC0415

    report = find_document(RunReport, folder, REPORT)
    audit = find_document(AuditReport, folder, AUDIT)
    return not ((report is None or report.complete) and (audit is None or audit.passed))


def roll_up_partitions(
    path: Path,
    storage: str,
    grain: Grain,
    partition: str,
    *,
    ti: RuntimeTaskInstanceProtocol,
    outlet_events: OutletEventAccessorsProtocol,
) -> None:
    """The task `roll_up`: merges the states of a period's partitions.

    The last two arguments are Airflow's own, which it passes by their names.

    Raises:
        AirflowFailException: They cannot be merged; the message says which to compute again.
    """
    from beam_jobs.publishing.rollups import RollupRefusedError  # noqa: PLC0415
    from beam_jobs.roll_up import roll_up  # noqa: PLC0415

    dataset = load_dataset(path)
    period = Partition.parse(partition, grain)
    run_id = attempt_id(ti.run_id, ti.try_number)
    with _no_retry(RollupRefusedError):
        roll_up(dataset, storage, period, run_id)
    outlet_events[partitions_asset(dataset, grain)].add_partitions(period.key)
