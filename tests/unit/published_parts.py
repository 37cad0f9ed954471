"""Publishes partitions from tables of records, as a run does, without reading files or Beam."""

from __future__ import annotations

import datetime
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import duckdb
import pyarrow as pa

from beam_jobs.datasets.dataset_model import Dataset
from beam_jobs.datasets.partition import Partition
from beam_jobs.engine import states
from beam_jobs.engine.run_report import (
    AggregateReport,
    Columns,
    Drift,
    Inputs,
    LookupRead,
    Rejects,
    RunReport,
    Versions,
)
from beam_jobs.engine.session import open_session
from beam_jobs.engine.states_files import fingerprint, paths, problem, write_states
from beam_jobs.publishing.manifest import Version
from beam_jobs.publishing.partition_folder import PartitionFolder
from beam_jobs.publishing.partition_store import begin, publish
from beam_jobs.sql import Plan, plan_query
from beam_jobs.version import VERSION

NOW = datetime.datetime(2013, 2, 1, tzinfo=datetime.UTC)
VERSIONS = Versions(tallyflow=VERSION, duckdb=duckdb.__version__, beam="0", python="3")
_Columns = tuple[tuple[str, str], ...]


@functools.cache
def _session() -> duckdb.DuckDBPyConnection:
    return open_session()


@functools.cache
def _planned(
    query: str, columns: _Columns, lookups: tuple[tuple[str, _Columns], ...]
) -> tuple[Plan, bool]:
    """A plan, and whether its states can be kept."""
    plan = plan_query(query, dict(columns), {name: dict(kinds) for name, kinds in lookups})
    return plan, problem(plan) is None


def _kinds(rows: pa.Table) -> _Columns:
    found = duckdb.from_arrow(rows)
    return tuple(zip(found.columns, map(str, found.types), strict=True))


def publish_part(
    storage: Path,
    dataset: Dataset,
    partition: Partition,
    rows: pa.Table,
    *,
    columns: Mapping[str, str],
    run_id: str = "first",
    versions: Versions = VERSIONS,
    lookups: Mapping[str, pa.Table] | None = None,
    reference: Sequence[LookupRead] = (),
    options: Mapping[str, str] = MappingProxyType({}),
) -> Version:
    """Compute all aggregates of a dataset over a table, and publish the partition."""
    folder = PartitionFolder(str(storage), dataset.name, partition)
    begin(folder, run_id)
    run = Path(folder.run(run_id))
    (run / "states").mkdir()
    session = _session()
    for name, table in (lookups or {}).items():
        session.register(name, table)
    kinds = tuple((name, _kinds(table)) for name, table in (lookups or {}).items())
    reports = []
    for name, aggregate in dataset.aggregates.items():
        plan, has_states = _planned(aggregate.query, tuple(columns.items()), kinds)
        session.register("input", rows.select(list(plan.used or plan.columns)))
        kept = paths(str(run / f"states/{name}.parquet"), plan) if has_states else []
        for number, path in enumerate(kept):
            position = int(partition.start.timestamp())
            found = states.partial_states(session, plan, number, "a file", position)
            write_states(path, plan, number, [found])
        result = run / f"{name}.{dataset.output_format}"
        result.write_text("", encoding="utf-8")  # no rollup reads it
        reports.append(
            AggregateReport(
                name=name,
                query=aggregate.query,
                fingerprint=fingerprint(plan),
                result=str(result),
                states=tuple(kept),
                rows=0,
                columns=dict(plan.result),
                approximate={},
            )
        )
    report = RunReport(
        versions=versions,
        run_id=run_id,
        dataset=dataset.name,
        partition=partition.key,
        started=NOW,
        inputs=Inputs(pattern="", number=0, bytes=0, files=()),
        lookups=tuple(reference),
        layout=Columns(
            format="csv", columns=columns, path_columns={}, inferred=(), options=options
        ),
        finished=NOW,
        seconds=0,
        complete=True,
        problem=None,
        rows=rows.num_rows,
        rejects=Rejects(count=0, limit=0, path=None, first=()),
        drift=Drift(missing=(), new=()),
        aggregates=tuple(reports),
        profile=None,
    )
    (run / "report.json").write_text(report.to_json(), encoding="utf-8")
    return publish(folder, run_id, dataset.keep_versions)
