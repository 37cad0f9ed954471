"""What is known of a run before it begins, as its report says it."""

from __future__ import annotations

import datetime
import platform
from typing import TYPE_CHECKING

import duckdb

from beam_jobs.engine.run_report import Columns, FileRead, Inputs, Launch, LookupRead, Versions
from beam_jobs.files import InputFile
from beam_jobs.formats.formats import Dialect
from beam_jobs.version import VERSION

if TYPE_CHECKING:
    from beam_jobs.engine.run import Run


def file_read(file: InputFile) -> FileRead:
    """Return what a report says of a file."""
    modified = file.modified and datetime.datetime.fromtimestamp(file.modified, datetime.UTC)
    return FileRead(path=file.path, bytes=file.size, modified=modified or None)


def _options(dialect: Dialect) -> dict[str, str | int | tuple[str, ...]]:
    """Return what is declared of CSV files and never found out."""
    signs = {name: getattr(dialect, name) for name in ("quote", "escape", "comment", "skip_lines")}
    return {**signs, "null_strings": tuple(sorted(dialect.null_strings))}


def launch_of(work: Run, beam_version: str) -> Launch:
    """Return what the run report says of a run before it begins."""
    return Launch(
        versions=Versions(
            tallyflow=VERSION,
            duckdb=duckdb.__version__,
            beam=beam_version,
            python=platform.python_version(),
        ),
        run_id=work.run_id,
        dataset=work.dataset,
        partition=work.partition and work.partition.key,
        started=datetime.datetime.now(datetime.UTC),
        inputs=Inputs(
            pattern=work.pattern,
            number=len(work.files),
            bytes=work.bytes,
            files=tuple(map(file_read, work.files)),
            since=work.changes,
        ),
        lookups=tuple(
            LookupRead(name=lookup.name, **dict(file_read(lookup.file))) for lookup in work.joined
        ),
        layout=Columns(
            format=work.layout.name,
            columns=dict(work.layout.columns),
            path_columns=dict(work.layout.path_columns),
            inferred=tuple(name for name in work.layout.columns if name in work.layout.inferred),
            options=_options(work.layout.dialect),
        ),
    )
