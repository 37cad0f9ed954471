"""Audits a run before it is published: are its numbers what the dataset's checks expect?

Everything that the run wrote stays where it is, whatever comes out; the audit adds `audit.json`.
"""

from __future__ import annotations

import datetime
import logging
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import duckdb

from beam_jobs.checks.audit_report import AuditReport, CheckResult, LateFiles
from beam_jobs.checks.check_conditions import Condition, parse_condition
from beam_jobs.checks.check_evaluation import Earlier, Evaluator
from beam_jobs.checks.late_files import late_files
from beam_jobs.datasets.dataset_model import Dataset
from beam_jobs.datasets.partition import Partition
from beam_jobs.engine.run_report import RunReport
from beam_jobs.engine.session import open_session, quote_name
from beam_jobs.errors import InputError, QueryError, TallyflowError, UsageError
from beam_jobs.files import local_copy
from beam_jobs.filesystems import join_path
from beam_jobs.publishing.conditional_files import open_store
from beam_jobs.publishing.partition_folder import PartitionFolder
from beam_jobs.publishing.partition_store import AUDIT, report_of
from beam_jobs.publishing.published import published, published_partitions
from beam_jobs.publishing.published_results import table_function
from beam_jobs.publishing.stored_documents import read_document
from beam_jobs.sql.syntax import duckdb_error

_LOG = logging.getLogger(__name__)


class AuditError(InputError):
    """Checks of severity error failed; the results stay staged.

    Args:
        report: With all checks.
        where: The folder with the staged results.
    """

    def __init__(self, report: AuditReport, where: str) -> None:
        self.report = report
        failed = [check for check in report.failed if check.severity == "error"]
        of = f"{len(failed)} of {len(report.checks)} checks"
        lines = [
            f"{report.dataset} {report.partition}: {of} failed; nothing is published, and the "
            f"results of run {report.run_id} stay in {where}",
            *(f"  {check.name}: {check.message}" for check in failed),
        ]
        super().__init__("\n".join(lines))


def audit(dataset: Dataset, storage: str, partition: Partition, run_id: str) -> AuditReport:
    """Evaluate the checks of a dataset for a run that is not published yet, and record them.

    Args:
        dataset: The dataset.
        storage: The storage root.
        partition: Of the run.
        run_id: Of the run, which is complete.

    Returns:
        What was found, as it is written to ``audit.json`` beside the results.

    Raises:
        AuditError: A check of severity error failed.
        InputError: The run was refused, or a report or a result cannot be read.
        UsageError: The partition is none that the dataset's files make, or a condition is none.
    """
    if partition.grain != dataset.grain:
        raise UsageError(
            f"{dataset.name} {partition.key}: checks are of a {dataset.grain}, not of a "
            f"{partition.grain}"
        )
    conditions = _conditions(dataset)
    folder = PartitionFolder(storage, dataset.name, partition)
    run = folder.run(run_id)
    report = report_of(folder, run_id)
    metrics = [metric for condition in conditions.values() for metric in condition.metrics]
    earlier = _history(folder, max([1, *(metric.partitions for metric in metrics)]))
    found = AuditReport(
        dataset=dataset.name,
        partition=partition.key,
        run_id=run_id,
        audited=datetime.datetime.now(datetime.UTC),
        passed=True,
        checks=tuple(_evaluated(dataset, conditions, run, report, earlier)),
        late=_late(earlier),
    )
    errors = [check for check in found.failed if check.severity == "error"]
    found = found.model_copy(update={"passed": not errors})
    open_store(run).write(AUDIT, found.to_json().encode())
    _log(found)
    if errors:
        raise AuditError(found, run)
    return found


def _conditions(dataset: Dataset) -> dict[str, Condition]:
    found = {}
    for name, check in dataset.checks.items():
        try:
            found[name] = parse_condition(check.condition, dataset.aggregates)
        except QueryError as error:
            raise UsageError(f"{dataset.name}: checks.{name}.condition: {error.problem}") from error
    return found


def _history(folder: PartitionFolder, most: int) -> list[Earlier]:
    """Return the last published partitions before one, the newest first."""
    before = folder.partition.previous
    place = (folder.storage, folder.dataset, before.grain)
    partitions = published_partitions(*place, last=before)[-most:]
    if not partitions:
        return []
    versions = published(*place, partitions[0], partitions[-1])
    earlier = []
    for one, version in reversed(versions):
        path = PartitionFolder(folder.storage, folder.dataset, one).path
        earlier.append(Earlier(one.key, read_document(RunReport, path, version.report)))
    return earlier


def _evaluated(
    dataset: Dataset,
    conditions: Mapping[str, Condition],
    run: str,
    report: RunReport,
    earlier: list[Earlier],
) -> Iterator[CheckResult]:
    names = {name for condition in conditions.values() for name in condition.results}
    with tempfile.TemporaryDirectory(prefix="tallyflow-") as scratch:
        paths = {name: join_path(run, f"{name}.{dataset.output_format}") for name in sorted(names)}
        local = {
            name: local_copy(path, join_path(scratch, Path(path).name))
            for name, path in paths.items()
        }
        with open_session(scratch, list(local.values())) as session:
            for name, path in paths.items():
                _load(session, name, path, local[name], report)
            evaluator = Evaluator(session, report, earlier)
            for name, condition in conditions.items():
                yield evaluator.result(name, dataset.checks[name], condition)


def _load(
    session: duckdb.DuckDBPyConnection, name: str, path: str, local: str, report: RunReport
) -> None:
    """Create a view of a result, whose file is at a path and can be read at a local one."""
    reported = next((one for one in report.aggregates if one.name == name), None)
    if reported is None:
        raise InputError(f"{path}: the run has no result {name}; run it again with this dataset")
    try:
        reader = table_function(local, reported.columns)
        session.execute(f"CREATE VIEW {quote_name(name)} AS FROM {reader}")
        ((rows,),) = session.execute(f"SELECT count(*) FROM {quote_name(name)}").fetchall()
    except duckdb.Error as error:
        problem = str(duckdb_error(error)["exception_message"]).splitlines()[0]
        raise InputError(f"{path}: cannot be read: {problem}") from error
    if rows != reported.rows:
        raise InputError(
            f"{path}: has {rows:,} rows, and the run wrote {reported.rows:,}; run it again"
        )


def _late(earlier: list[Earlier]) -> LateFiles | None:
    """Return the late files of the newest partition before; that it is not known stops nothing."""
    if not earlier:
        return None
    try:
        return late_files(earlier[0].key, earlier[0].report)
    except TallyflowError as error:
        _LOG.warning("late files of %s cannot be told: %s", earlier[0].key, error)
        return None


def _log(report: AuditReport) -> None:
    where = f"{report.dataset} {report.partition}"
    passed = len(report.checks) - len(report.failed)
    _LOG.info("%s: %d of %d checks passed", where, passed, len(report.checks))
    for check in report.failed:
        if check.severity == "warn":
            _LOG.warning("%s: %s: %s", where, check.name, check.message)
    if report.late is not None:
        for file in report.late.files:
            what = "came" if file.change == "new" else "was changed"
            _LOG.warning(
                "%s: %s %s after %s was computed; %s",
                where,
                *(file.path, what, report.late.partition, report.late.remedy),
            )
