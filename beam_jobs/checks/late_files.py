"""Finds the files of a partition that came, or were changed, after its numbers were computed."""

from __future__ import annotations

import datetime

from beam_jobs.checks.audit_report import LateFile, LateFiles
from beam_jobs.engine.run_report import FileRead, RunReport
from beam_jobs.files import InputFile, match_files


def late_files(key: str, report: RunReport) -> LateFiles | None:
    """Compare the files that a run read with those that its pattern matches now.

    Files that are gone are not late: what they held is in the numbers.

    Args:
        key: Of the partition.
        report: Of the run that computed it.

    Returns:
        The files, None if there are none.

    Raises:
        InputError: The folder cannot be listed any more.
    """
    read = {file.path: file for file in report.inputs.files}
    found = [_compared(file, read.get(file.path)) for file in match_files(report.inputs.pattern)]
    files = tuple(file for file in found if file is not None)
    if not files:
        return None
    return LateFiles(
        partition=key,
        run_id=report.run_id,
        files=files,
        remedy=f"run the dataset again for {key}",
    )


def _compared(file: InputFile, before: FileRead | None) -> LateFile | None:
    modified = None
    if file.modified:
        modified = datetime.datetime.fromtimestamp(file.modified, datetime.UTC)
    is_same = (
        before is not None
        and before.bytes == file.size
        and (None in (before.modified, modified) or before.modified == modified)
    )
    if is_same:
        return None
    return LateFile(
        path=file.path,
        bytes=file.size,
        modified=modified,
        change="new" if before is None else "changed",
    )
