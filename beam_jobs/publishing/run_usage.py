"""What a run used is known after its report was written: it is added to it before publication."""

from __future__ import annotations

from beam_jobs.engine.run_report import RunReport, Usage
from beam_jobs.publishing.conditional_files import open_store
from beam_jobs.publishing.partition_folder import PartitionFolder
from beam_jobs.publishing.partition_store import REPORT
from beam_jobs.publishing.stored_documents import find_document


def add_usage(folder: PartitionFolder, run_id: str, usage: Usage) -> None:
    """Add to the report of a run what its job used; a second time changes nothing.

    Args:
        folder: Of the partition.
        run_id: Of the run, whose job is over; a run without a report is left alone.
        usage: What it used.

    Raises:
        TallyflowError: The report cannot be read or written.
    """
    run = folder.run(run_id)
    report = find_document(RunReport, run, REPORT)
    if report is None or report.usage == usage:
        return
    changed = report.model_copy(update={"usage": usage})
    open_store(run).write(REPORT, changed.to_json().encode())
