r"""Computes a week or a month of a dataset from the states of its published partitions.

    python -m beam_jobs.roll_up --dataset dags/datasets/flights.yaml --period week --date 2013-01-07

No file of the dataset is read again, and no job is launched: DuckDB merges the states, here.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import logging
import platform
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from beam_jobs import options
from beam_jobs.datasets.dataset import load_dataset
from beam_jobs.datasets.dataset_model import Dataset
from beam_jobs.datasets.partition import Partition
from beam_jobs.engine.merge_files import merge_files
from beam_jobs.engine.run_report import AggregateReport
from beam_jobs.engine.states_files import fingerprint
from beam_jobs.engine.states_files import paths as states_paths
from beam_jobs.errors import TallyflowError
from beam_jobs.filesystems import join_path
from beam_jobs.output_files import write_file, write_text
from beam_jobs.publishing.describe_rollup import describe
from beam_jobs.publishing.manifest import Contents, PublishedAggregate, Version
from beam_jobs.publishing.partition_folder import RUNS, check_run_id, new_run_id, run_id_of
from beam_jobs.publishing.partition_store import REPORT, RefusedError, begin, discard, publish
from beam_jobs.publishing.rollup_report import RollupReport, RollupVersions, Source
from beam_jobs.publishing.rollup_sources import Rollup, find_rollup, local_files
from beam_jobs.publishing.rollups import changed_lookups
from beam_jobs.sql.functions import APPROXIMATE
from beam_jobs.version import VERSION

_LOG = logging.getLogger(__name__)

_EXAMPLES = """
examples:
  # the week that began on that Monday
  python -m beam_jobs.roll_up --dataset dags/datasets/flights.yaml --period week --date 2013-01-07
  # a month; first what it would be computed from, and whether that is still to be done
  python -m beam_jobs.roll_up --dataset … --period month --date 2013-01 --describe
  python -m beam_jobs.roll_up --dataset … --period month --date 2013-01

All days of the period have to be published, or all hours, with the queries as they are now. What is
not is listed, with the command that computes it.

exit status:
  0  the period is published, now or before
  1  the work failed: partitions are missing or do not merge, no place to write
  2  the call has to change: an option, the dataset file
"""


@dataclass(frozen=True)
class RolledUp:
    """A period that is published.

    Attributes:
        version: What is published.
        is_new: Whether it was not published before.
    """

    version: Version
    is_new: bool


def main(argv: Sequence[str]) -> None:
    """Run the command.

    Raises:
        TallyflowError: The period cannot be computed; nothing was published.
    """
    job = _parser().parse_args(argv)
    dataset = load_dataset(job.dataset)
    period = Partition.parse(job.date, job.period)
    if job.describe:
        sys.stdout.write(describe(find_rollup(dataset, job.storage, period)))
        return
    run_id = new_run_id() if job.run_id is None else run_id_of(job.run_id)
    roll_up(dataset, job.storage, period, run_id)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m beam_jobs.roll_up",
        description="Compute a week or a month of a dataset from the states of its partitions.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--dataset", metavar="FILE", type=Path, required=True, help="the dataset's YAML file"
    )
    parser.add_argument("--period", choices=("week", "month"), required=True, help="how long it is")
    parser.add_argument(
        "--date",
        metavar="KEY",
        required=True,
        help="which: 2013-01-07, the Monday of the week, or 2013-01, the month",
    )
    options.add_storage(parser)
    parser.add_argument("--run_id", metavar="NAME", help="a name for this run (default: a new one)")
    parser.add_argument(
        "--describe",
        action="store_true",
        help="print what would be merged and how, and do not run",
    )
    return parser


def roll_up(dataset: Dataset, storage: str, period: Partition, run_id: str) -> RolledUp:
    """Compute a week or month from what is published of its partitions, and publish it.

    Args:
        dataset: As it is declared now.
        storage: The storage root, a folder or a ``gs://`` URL.
        period: The week or month.
        run_id: Of this run: the name of its folder.

    Returns:
        What is published; it is not new if nothing has changed since.

    Raises:
        RollupRefusedError: Partitions are missing, or do not merge.
        RefusedError: Another run published the period meanwhile.
        TallyflowError: A query fails on the merged values, or a place cannot be read or written.
    """
    check_run_id(run_id)
    started = datetime.datetime.now(datetime.UTC)
    # The period's manifest is read before those of its partitions: whoever computes it from newer
    # ones meanwhile is noticed.
    work = find_rollup(dataset, storage, period)
    if work.published and work.is_published:
        _LOG.info("%s: nothing has changed since version %d", work.folder, work.published.number)
        return RolledUp(work.published, is_new=False)
    with _run_of(work, run_id):
        aggregates = {name: _compute(work, name, run_id) for name in work.plans}
        report = _report(work, run_id, started, aggregates)
        write_text(report.to_json(), join_path(work.folder.run(run_id), REPORT))
        contents = _contents(work, run_id, report)
        version = publish(work.folder, run_id, dataset.keep_versions, contents)
    _LOG.info(
        "%s: version %d, of %d partitions, rows: %s, seconds: %.1f",
        work.folder,
        version.number,
        len(work.parts),
        f"{version.rows:,}",
        report.seconds,
    )
    return RolledUp(version, is_new=True)


@contextlib.contextmanager
def _run_of(work: Rollup, run_id: str) -> Iterator[None]:
    """Begin a run, and delete what it wrote if it fails.

    Raises:
        RefusedError: The period was published since it was looked at.
    """
    begun = begin(work.folder, run_id)
    try:
        _check_base(work, begun.base)
        yield
    except BaseException:
        with contextlib.suppress(TallyflowError):
            discard(work.folder, run_id)
        raise


def _check_base(work: Rollup, base: int) -> None:
    if base != work.base:
        raise RefusedError(f"{work.folder}: was published just now; run it again")


def _compute(work: Rollup, name: str, run_id: str) -> AggregateReport:
    """Merge the states of one aggregate; write its result and its merged states."""
    plan = work.plans[name]
    run = work.folder.run(run_id)
    result = join_path(run, f"{name}.{work.dataset.output_format}")
    merged = states_paths(join_path(run, f"states/{name}.parquet"), plan)
    with tempfile.TemporaryDirectory(prefix="tallyflow-") as scratch:
        local = f"{scratch}/result.{work.dataset.output_format}"
        local_merged = [f"{scratch}/merged{number}" for number in range(len(merged))]
        files = local_files(name, work.parts, len(plan.relations), scratch)
        try:
            rows = merge_files(plan, files, local, local_merged, scratch)
        except TallyflowError as error:
            raise type(error)(f"{work.folder}: aggregate {name}: {error}") from error
        for source, destination in zip([local, *local_merged], [result, *merged], strict=True):
            write_file(source, destination)
    return AggregateReport(
        name=name,
        query=plan.query,
        fingerprint=fingerprint(plan),
        result=result,
        states=tuple(merged),
        rows=rows,
        columns=dict(plan.result),
        approximate={name: APPROXIMATE[name] for name in plan.approximate},
    )


def _report(
    work: Rollup,
    run_id: str,
    started: datetime.datetime,
    aggregates: Mapping[str, AggregateReport],
) -> RollupReport:
    finished = datetime.datetime.now(datetime.UTC)
    changed = changed_lookups(work.parts)
    for name in changed:
        _LOG.warning("lookup %s: was not the same file for all partitions", name)
    return RollupReport(
        versions=RollupVersions(
            tallyflow=VERSION, duckdb=duckdb.__version__, python=platform.python_version()
        ),
        run_id=run_id,
        dataset=work.dataset.name,
        grain=work.folder.partition.grain,
        partition=work.folder.partition.key,
        started=started,
        finished=finished,
        seconds=round((finished - started).total_seconds(), 3),
        rows=sum(part.version.rows for part in work.parts),
        sources=tuple(
            Source(partition=part.partition.key, run_id=part.version.run_id, rows=part.version.rows)
            for part in work.parts
        ),
        changed_lookups=changed,
        aggregates=tuple(aggregates.values()),
    )


def _contents(work: Rollup, run_id: str, report: RollupReport) -> Contents:
    """Return what the period's manifest is to say, its paths relative to the period's folder."""

    def relative(path: str) -> str:
        return path.removeprefix(f"{work.folder.path}/")

    return Contents(
        rows=report.rows,
        aggregates={
            one.name: PublishedAggregate(
                result=relative(str(one.result)),
                rows=one.rows,
                states=tuple(map(relative, one.states)),
                fingerprint=one.fingerprint,
            )
            for one in report.aggregates
        },
        report=f"{RUNS}/{run_id}/{REPORT}",
        sources=work.sources,
    )


if __name__ == "__main__":
    options.run_main(main)
