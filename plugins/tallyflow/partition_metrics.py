"""What a published partition was like, as gauges beside Airflow's own metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk.observability import stats

if TYPE_CHECKING:
    from beam_jobs.publishing.manifest import Version
    from beam_jobs.publishing.partition_folder import PartitionFolder


def send_metrics(folder: PartitionFolder, version: Version) -> None:
    """Sends ``tallyflow.<dataset>.<name>`` for each number that an alert may be set on.

    The dataset is in the name and no tag: plain StatsD has none. Raises `InputError` where the
    version has no report.
    """
    from beam_jobs.checks.audit_report import AuditReport  # noqa: PLC0415
    from beam_jobs.engine.run_report import RunReport  # noqa: PLC0415
    from beam_jobs.publishing.partition_store import AUDIT  # noqa: PLC0415
    from beam_jobs.publishing.stored_documents import find_document, read_document  # noqa: PLC0415

    report = read_document(RunReport, folder.path, version.report)
    audit = find_document(AuditReport, folder.run(version.run_id), AUDIT)
    gauges = {
        "files": report.inputs.number,
        "bytes": report.inputs.bytes,
        "rows": report.rows,
        "rejects": report.rejects.count,
        "seconds": report.seconds,
        "failed_checks": len(audit.failed) if audit else 0,
        "late_files": len(audit.late.files) if audit and audit.late else 0,
    }
    for name, value in gauges.items():
        stats.gauge(f"tallyflow.{folder.dataset}.{name}", value)
