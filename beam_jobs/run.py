"""Runs queries over files as one Beam pipeline, and says how it went."""

from __future__ import annotations

import contextlib
import fnmatch
import logging
import os
import re
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from beam_jobs.errors import InputError, TallyflowError, UsageError
from beam_jobs.files import InputFile, delete_file, is_remote, match_files
from beam_jobs.layout import Layout
from beam_jobs.options import LOCAL_RUNNER
from beam_jobs.parts import share_out
from beam_jobs.sql import Plan
from beam_jobs.sql.functions import APPROXIMATE

_LOG = logging.getLogger(__name__)

# Beam's default local runner starts a server that it downloads; this one runs in the process.
_LOCAL_RUNNER_CLASS = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"
# Of input, to each partition of the groups.
_PARTITION_BYTES = 256 * 1024 * 1024
_MOST_PARTITIONS = 64
# How a worker's exception reads in the text of the one that Beam raises for it.
_WORKER_ERROR = re.compile(r"beam_jobs\.errors\.(\w+): (.*?)(?: \[while running|\Z)", re.DOTALL)


@dataclass(frozen=True)
class Run:
    """One run: files in, one result per query out.

    Attributes:
        files: The files to read, fixed for the run.
        layout: How they are read.
        plans: The queries, by the path of the result.
        rejects_path: Where the rejects go; None for nowhere.
        max_rejects: How many rejects are allowed.
    """

    files: Sequence[InputFile]
    layout: Layout
    plans: Mapping[str, Plan]
    rejects_path: str | None = None
    max_rejects: int = 0


def find_files(pattern: str, allow_empty: bool) -> list[InputFile]:
    """Return the files of a run.

    Raises:
        UsageError: None matches, and that is not allowed.
    """
    files = match_files(pattern)
    if not files and not allow_empty:
        raise UsageError(
            f"no file matches {pattern!r}; check the pattern, or allow an empty result with "
            "--allow_empty"
        )
    return files


def check_outputs(outputs: Sequence[str], pattern: str, files: Sequence[InputFile]) -> None:
    """Refuse results that would be read as input, or that cannot be written where they should.

    Raises:
        UsageError: Naming the output.
    """
    inputs = {_absolute(file.path) for file in files}
    for output in outputs:
        place = _absolute(output)
        if place in inputs or _matches(place, _absolute(pattern)):
            raise UsageError(f"{output}: the output is among the input files; write it elsewhere")
        if is_remote(output):
            continue
        folder = next(parent for parent in Path(place).parents if parent.exists())
        if Path(place).is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
            what = "is a folder" if Path(place).is_dir() else f"{folder} is no folder to write to"
            raise UsageError(f"{output}: cannot be written: {what}")


def _absolute(path: str) -> str:
    return path if is_remote(path) else os.path.abspath(path)  # noqa: PTH100  (keeps patterns)


def _matches(path: str, pattern: str) -> bool:
    """Whether a pattern would match a path: only ``**`` goes across folders."""
    if "**" in pattern:
        return fnmatch.fnmatchcase(path, pattern)
    parts, wanted = path.split("/"), pattern.split("/")
    return len(parts) == len(wanted) and all(map(fnmatch.fnmatchcase, parts, wanted))


def run(work: Run, runner: str, beam_arguments: Sequence[str]) -> None:
    """Run and wait for the end; no result is published before all are complete.

    Raises:
        TallyflowError: The run failed.
    """
    started = time.monotonic()
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions

    from beam_jobs.blocks import BlockReader
    from beam_jobs.transforms import METRICS, AggregateFiles, Target

    local = runner == LOCAL_RUNNER
    shares = share_out(work.files, splittable=work.layout.splittable)
    # Here a worker's traceback is noise: the error below says what it says. Elsewhere the runner
    # tells how the job goes, and the job's id, which Airflow reads.
    logging.getLogger("apache_beam").setLevel(logging.CRITICAL if local else logging.INFO)
    options = PipelineOptions(list(beam_arguments), runner=_LOCAL_RUNNER_CLASS if local else runner)
    run_id = uuid.uuid4().hex[:12]
    targets = [Target(plan, _staged(path, run_id), path) for path, plan in work.plans.items()]
    with _cleared([target.staged for target in targets]), _worker_errors():
        pipeline = beam.Pipeline(options=options)
        _ = (
            pipeline
            | "Shares" >> beam.Create(shares, reshuffle=False)
            | AggregateFiles(
                reader=BlockReader(work.layout, _wanted(work)),
                targets=targets,
                partitions=_partitions(work.files),
                # Other runners have a process for every processor.
                threads=(os.cpu_count() or 1) if local else 1,
                has_parts=any(not part.is_whole for share in shares for part in share.parts),
                rejects_path=work.rejects_path,
                max_rejects=work.max_rejects,
            )
        )
        result = pipeline.run()
        result.wait_until_finish()
    found = result.metrics().query(beam.metrics.MetricsFilter().with_namespace(METRICS))
    counts = {counter.key.metric.name: counter.result for counter in found["counters"]}
    for name in sorted({name for plan in work.plans.values() for name in plan.approximate}):
        _LOG.info("%s is approximate: %s", name, APPROXIMATE[name])
    _LOG.info(
        "files: %s, bytes: %s, rows: %s, rejects: %s, seconds: %.1f",
        *(f"{counts.get(name, 0):,}" for name in ("files", "bytes", "rows", "rejects")),
        time.monotonic() - started,
    )


def _wanted(work: Run) -> dict[str, str]:
    """Return the columns that some query uses; a row has one at least."""
    used = {name for plan in work.plans.values() for name in plan.used}
    columns = work.layout.input_columns
    return {n: kind for n, kind in columns.items() if n in used} or dict([*columns.items()][:1])


def _partitions(files: Sequence[InputFile]) -> int:
    """Return into how many partitions to spread groups, of which there may be as many as rows."""
    size = sum(file.size for file in files)
    return max(1, min(_MOST_PARTITIONS, size // _PARTITION_BYTES))


def _staged(path: str, run_id: str) -> str:
    """Return where a result waits: beside its destination, out of the sight of globs over it."""
    folder, _, name = path.rpartition("/")
    return f"{folder or '.'}/.{run_id}-{name}"


@contextlib.contextmanager
def _cleared(staged: Sequence[str]) -> Iterator[None]:
    """Delete what a failed run leaves staged."""
    try:
        yield
    except BaseException:
        for path in staged:
            with contextlib.suppress(TallyflowError):
                delete_file(path)
        raise


@contextlib.contextmanager
def _worker_errors() -> Iterator[None]:
    """Raise a worker's own error in place of what Beam makes of it."""
    try:
        yield
    except Exception as error:
        match = _WORKER_ERROR.search(f"beam_jobs.errors.{type(error).__name__}: {error}")
        if not isinstance(error, TallyflowError):
            match = _WORKER_ERROR.search(str(error))
        if match is None:
            raise
        kind = InputError if match[1] == InputError.__name__ else TallyflowError
        raise kind(match[2].strip()) from error
