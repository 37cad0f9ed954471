"""Runs queries over files as one Beam pipeline, and says how it went."""

from __future__ import annotations

import contextlib
import datetime
import functools
import gc
import logging
import re
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from beam_jobs.datasets.partition import Partition
from beam_jobs.engine import progress
from beam_jobs.engine.launch import launch_of
from beam_jobs.engine.lookups import Lookup
from beam_jobs.engine.memory import this_machine
from beam_jobs.engine.parts import Share, share_out
from beam_jobs.engine.profile import profile_plan
from beam_jobs.engine.publication import Publication, StagedFile, Target
from beam_jobs.engine.run_report import Changes
from beam_jobs.engine.states_files import paths as states_paths
from beam_jobs.errors import InputError, TallyflowError
from beam_jobs.files import InputFile
from beam_jobs.formats.layout import FILENAME, Layout
from beam_jobs.options import LOCAL_RUNNER
from beam_jobs.output_files import delete_file
from beam_jobs.publishing.partition_folder import new_run_id
from beam_jobs.sql import Plan
from beam_jobs.sql.functions import APPROXIMATE

_LOG = logging.getLogger(__name__)

# Beam's default local runner starts a server that it downloads; this one runs in the process.
_LOCAL_RUNNER_CLASS = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"
# Of a share's number, within its partition.
_SHARE_BITS = 32
# Of input, to each partition of the groups.
_PARTITION_BYTES = 256 * 1024 * 1024
_MOST_PARTITIONS = 64
# How a worker's exception reads in the text of the one that Beam raises for it.
_WORKER_ERROR = re.compile(r"beam_jobs\.errors\.(\w+): (.*?)(?: \[while running|\Z)", re.DOTALL)


@dataclass(frozen=True)
class Output:
    """One query of a run, and where its result goes.

    Attributes:
        name: Of the query, in messages and reports.
        plan: The query.
        path: Of the result.
        states_path: Of the states, those of its first relation; None where they are not kept.
        is_printed: Whether the result is a file only to be printed.
    """

    name: str
    plan: Plan
    path: str
    states_path: str | None = None
    is_printed: bool = False

    @property
    def states_paths(self) -> list[str]:
        """Of the states, one for each relation of the query; none where they are not kept."""
        return [] if self.states_path is None else states_paths(self.states_path, self.plan)


@dataclass(frozen=True)
class Run:
    """One run: files in, one result per query out.

    Attributes:
        pattern: Of the files.
        files: The files to read, fixed for the run.
        layout: How they are read.
        outputs: The queries.
        run_id: Of the run.
        lookups: The tables that they may join.
        has_profile: Whether the columns are profiled.
        dataset: Name of the dataset; None for a query by itself.
        partition: Its partition.
        changes: How the files differ from those of what is published of the partition.
        rejects_path: Where the rejects go; None for nowhere.
        report_path: Where the run report goes; None for nowhere.
        max_rejects: How many rejects are allowed.
        fails_on_drift: Whether no file may lack a column or have a new one.
    """

    pattern: str
    files: Sequence[InputFile]
    layout: Layout
    outputs: Sequence[Output]
    run_id: str = field(default_factory=new_run_id)
    lookups: Sequence[Lookup] = ()
    has_profile: bool = False
    dataset: str | None = None
    partition: Partition | None = None
    changes: Changes | None = None
    rejects_path: str | None = None
    report_path: str | None = None
    max_rejects: int = 0
    fails_on_drift: bool = False

    @property
    def bytes(self) -> int:
        """Of all files, as they are stored."""
        return sum(file.size for file in self.files)

    @property
    def joined(self) -> list[Lookup]:
        """The lookup tables that some query joins."""
        names = {name for output in self.outputs for name in output.plan.lookups}
        return [lookup for lookup in self.lookups if lookup.name in names]

    @functools.cached_property
    def profile(self) -> Plan | None:
        """The plan of the columns' profile; the files' names are no column of theirs."""
        columns = self.layout.input_columns
        if FILENAME not in self.layout.columns:
            del columns[FILENAME]
        return profile_plan(columns) if self.has_profile and columns else None

    @property
    def wanted(self) -> dict[str, str]:
        """Name and type of the columns that some query uses; one at least."""
        plans = [output.plan for output in self.outputs]
        if self.profile is not None:
            plans.append(self.profile)
        used = {name for plan in plans for name in plan.used}
        columns = self.layout.input_columns
        return {n: kind for n, kind in columns.items() if n in used} or dict([*columns.items()][:1])

    def shares(self) -> list[Share]:
        """Return what each worker reads at a time.

        The shares of a later partition have greater numbers, so that states merge in the order of
        time.
        """
        shares = share_out(self.files, splittable=self.layout.splittable)
        if self.partition is None:
            return shares
        hours = (self.partition.start - datetime.datetime.min) // datetime.timedelta(hours=1)  # noqa: DTZ901
        first = hours << _SHARE_BITS
        return [replace(share, number=first + share.number) for share in shares]


def run(work: Run, runner: str, beam_arguments: Sequence[str]) -> None:
    """Run and wait for the end; no result is published before all are complete.

    Raises:
        TallyflowError: The run failed.
    """
    started = time.monotonic()
    with _without_collecting():
        import apache_beam as beam
        from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions

        from beam_jobs.engine.blocks import BlockReader
        from beam_jobs.engine.transforms import METRICS, AggregateFiles

    local = runner == LOCAL_RUNNER
    shares = work.shares()
    # Here a worker's traceback is noise: the error below says what it says. Elsewhere the runner
    # tells how the job goes, and the job's id, which Airflow reads.
    logging.getLogger("apache_beam").setLevel(logging.CRITICAL if local else logging.INFO)
    options = PipelineOptions(list(beam_arguments), runner=_LOCAL_RUNNER_CLASS if local else runner)
    publication = Publication(
        targets=[_target(work, output) for output in work.outputs],
        launch=launch_of(work, beam.__version__),
        max_rejects=work.max_rejects,
        fails_on_drift=work.fails_on_drift,
        rejects_path=work.rejects_path,
        report_path=work.report_path,
    )
    staged = [file.staged for target in publication.targets for file in target.files]
    shown = progress.showing(work.bytes) if local else contextlib.nullcontext()
    with _one_scratch_folder(), _cleared(staged, local=local), _worker_errors(), shown:
        pipeline = beam.Pipeline(options=options)
        _ = (
            pipeline
            | "Shares" >> beam.Create(shares, reshuffle=False)
            | AggregateFiles(
                reader=BlockReader(work.layout, work.wanted),
                publication=publication,
                profile=work.profile,
                lookups=work.joined,
                partitions=_partitions(work),
                # Other runners have a process for every processor.
                threads=this_machine().sessions if local else 1,
                has_parts=any(not part.is_whole for share in shares for part in share.parts),
            )
        )
        result = pipeline.run()
        if options.view_as(GoogleCloudOptions).template_location:
            _LOG.info("the job is described; Dataflow goes on with it")
            return
        result.wait_until_finish()
    found = result.metrics().query(beam.metrics.MetricsFilter().with_namespace(METRICS))
    # None where a runner has not told of a counter that stayed at zero.
    counts = {counter.key.metric.name: counter.result or 0 for counter in found["counters"]}
    for name in sorted({name for output in work.outputs for name in output.plan.approximate}):
        _LOG.info("%s is approximate: %s", name, APPROXIMATE[name])
    _LOG.info(
        "files: %s, bytes: %s, rows: %s, rejects: %s, seconds: %.1f",
        *(f"{counts.get(name, 0):,}" for name in ("files", "bytes", "rows", "rejects")),
        time.monotonic() - started,
    )


def _target(work: Run, output: Output) -> Target:
    result, *states = (
        # Nobody reads in the folder of a dataset's run before a manifest says so.
        StagedFile(path if work.dataset else _staged(path, work.run_id), path)
        for path in (output.path, *output.states_paths)
    )
    return Target(output.name, output.plan, result, tuple(states), output.is_printed)


def _partitions(work: Run) -> int:
    """Return into how many partitions to spread groups, of which there may be as many as rows."""
    return max(1, min(_MOST_PARTITIONS, work.bytes // _PARTITION_BYTES))


def _staged(path: str, run_id: str) -> str:
    """Return where a result waits: beside its destination, out of the sight of globs over it."""
    folder, _, name = path.rpartition("/")
    return f"{folder or '.'}/.{run_id}-{name}"


@contextlib.contextmanager
def _one_scratch_folder() -> Iterator[None]:
    """Keep the scratch files of a run below one folder, which is deleted after it.

    Beam's local runner does not tear down its workers before the process ends.
    """
    before = tempfile.tempdir
    with tempfile.TemporaryDirectory(prefix="tallyflow-", ignore_cleanup_errors=True) as folder:
        tempfile.tempdir = folder
        try:
            yield
        finally:
            tempfile.tempdir = before


@contextlib.contextmanager
def _without_collecting() -> Iterator[None]:
    """Collect no garbage, of which an import leaves none: a quarter of Beam's is spent on it."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@contextlib.contextmanager
def _cleared(staged: Sequence[str], *, local: bool) -> Iterator[None]:
    """Delete what a failed run leaves staged; one elsewhere goes on if this process is ended."""
    try:
        yield
    except BaseException as error:
        if not local and not isinstance(error, Exception):
            raise
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
