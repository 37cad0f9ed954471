"""Whether the partitions of a week or month merge: all there, and of one query; or it is refused.

Here are the plain functions; `beam_jobs.roll_up` puts them together.
"""

from __future__ import annotations

import functools
import itertools
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import duckdb

from beam_jobs.datasets.dataset_model import Dataset
from beam_jobs.datasets.partition import Partition
from beam_jobs.engine.run_report import RunReport
from beam_jobs.engine.states_files import fingerprint
from beam_jobs.engine.states_files import problem as states_problem
from beam_jobs.errors import QueryError, TallyflowError, UsageError
from beam_jobs.formats.formats import FormatName
from beam_jobs.formats.layout import Layout
from beam_jobs.publishing.manifest import Version
from beam_jobs.sql import Plan, plan_query
from beam_jobs.version import VERSION

# Of each lookup table that the queries join, name to DuckDB type of its columns.
LookupColumns = Mapping[str, Mapping[str, str]]
# As the hashable key of a plan.
_Columns = tuple[tuple[str, str], ...]


class RollupRefusedError(TallyflowError):
    """A period whose parts do not go together, or are not all there.

    Args:
        what: What was to be computed.
        problems: All that is wrong, a line each.
        backfill: The partitions that have to be computed, or computed again, in their order.
        command: What computes a partition, up to its key.
    """

    def __init__(
        self, what: str, problems: Sequence[str], backfill: Sequence[Partition], command: str
    ) -> None:
        self.problems = tuple(problems)
        self.backfill = tuple(backfill)
        lines = [f"{what} is not rolled up:", *problems]
        if backfill:
            each = "" if len(backfill) == 1 else ", and so for each"
            lines.append(f"compute {dates(backfill)}: {command} {backfill[0].key}{each}")
        super().__init__("\n  ".join(lines))


@dataclass(frozen=True)
class Part:
    """One published partition of the period.

    Attributes:
        partition: Which.
        folder: Its folder; the version's paths are relative to it.
        version: What is published of it.
        report: Of the run that computed it.
    """

    partition: Partition
    folder: str
    version: Version
    report: RunReport


@dataclass
class _Problems:
    """What was found so far."""

    lines: list[str] = field(default_factory=list)
    backfill: set[Partition] = field(default_factory=set)

    def add(self, line: str, backfill: Sequence[Partition] = ()) -> None:
        """Add a problem, and the partitions that have to be computed because of it."""
        self.lines.append(line)
        self.backfill.update(backfill)


def parts_of(dataset: Dataset, period: Partition) -> list[Partition]:
    """The partitions of a dataset that a period consists of, in their order.

    Raises:
        UsageError: The dataset begins after the period.
    """
    first = dataset.first_partition
    parts = [part for part in period.parts(dataset.grain) if part >= first]
    if not parts:
        raise UsageError(
            f"dataset {dataset.name} begins on {dataset.start_date}, after the {period.grain} "
            f"{period.key}; give a later --date, or change start_date"
        )
    return parts


def plan_rollup(
    dataset: Dataset,
    period: Partition,
    parts: Sequence[Part],
    lookups: LookupColumns,
    command: str,
) -> dict[str, Plan]:
    """Plan the aggregates of a dataset over the parts of a period, if they go together.

    Args:
        dataset: As it is declared now.
        period: What is rolled up.
        parts: What is published of its partitions, in their order.
        lookups: The columns of the tables that the queries join.
        command: What computes a partition, up to its key, for the message.

    Returns:
        The plan of each aggregate by its name: that of all parts, and of the query as it is now.

    Raises:
        RollupRefusedError: A partition is not published, or what is published does not merge.
    """
    problems = _Problems()
    published = {part.partition for part in parts}
    missing = [part for part in parts_of(dataset, period) if part not in published]
    if missing:
        problems.add(f"not published: {dates(missing)}", missing)
    _check_versions(parts, problems)
    _check_options(parts, problems)
    plans = {}
    planned = functools.cache(functools.partial(_plan, lookups=lookups))
    for name, aggregate in dataset.aggregates.items():
        of_parts = {
            part.partition: planned(aggregate.query, _columns(dataset, part.report))
            for part in parts
        }
        _check_aggregate(name, parts, of_parts, problems)
        found = [plan for plan, _ in of_parts.values() if plan is not None]
        if found:
            plans[name] = found[0]
    if problems.lines:
        backfill = sorted(problems.backfill)
        what = f"{dataset.name}, the {period.grain} {period.key},"
        raise RollupRefusedError(what, problems.lines, backfill, command)
    return plans


def _check_versions(parts: Sequence[Part], problems: _Problems) -> None:
    """Refuse states that another version computed: their layout may be another."""
    for name, here in (("duckdb", duckdb.__version__), ("tallyflow", VERSION)):
        others = defaultdict(list)
        for part in parts:
            version = getattr(part.report.versions, name)
            if version != here:
                others[version].append(part.partition)
        for version, partitions in others.items():
            line = f"states of {name} {version}, and this is {here}: {dates(partitions)}"
            problems.add(line, partitions)


def _check_options(parts: Sequence[Part], problems: _Problems) -> None:
    """Refuse records that were read in other ways: the same value is NULL in one part only."""
    known = [part for part in parts if part.report.layout.options]
    if not known:
        return
    newest = max(known, key=lambda part: part.version.published)
    for name, value in newest.report.layout.options.items():
        others = [part.partition for part in known if part.report.layout.options[name] != value]
        if others:
            line = f"{name} is {value!r} in {newest.partition.key}, and was another in"
            problems.add(f"{line} {dates(others)}", others)


def _check_aggregate(
    name: str,
    parts: Sequence[Part],
    plans: Mapping[Partition, tuple[Plan | None, str]],
    problems: _Problems,
) -> None:
    """Refuse an aggregate that is not the same in all parts, or has no states."""
    absent, changed, stateless = [], [], []
    kinds: dict[str, list[Partition]] = defaultdict(list)
    for part in parts:
        plan, expected = plans[part.partition]
        published = part.version.aggregates.get(name)
        if published is None:
            absent.append(part.partition)
        elif plan is None or published.fingerprint != expected:
            changed.append(part.partition)
        elif not published.states:
            stateless.append(part.partition)
        else:
            kinds[expected].append(part.partition)
    if absent:
        problems.add(f"aggregate {name}: was added later, and is not in {dates(absent)}", absent)
    if changed:
        how = _how_changed(plans[changed[0]])
        problems.add(f"aggregate {name}: {how} in {dates(changed)}", changed)
    if stateless:
        plan, _ = plans[stateless[0]]
        why = plan and states_problem(plan)
        remedy = f"{why}; cast them in the query" if why else f"compute {dates(stateless)} again"
        problems.add(f"aggregate {name}: its states are not kept: {remedy}")
    if len(kinds) > 1:
        # Computing them again helps once the types are declared.
        problems.add(
            f"aggregate {name}: {_types(kinds, plans)}", [*itertools.chain(*kinds.values())]
        )


def _how_changed(planned: tuple[Plan | None, str]) -> str:
    plan, problem = planned
    if plan is None:
        return f"does not go with the columns ({problem})"
    return "was another query, or read columns of other types,"


def _types(
    kinds: Mapping[str, Sequence[Partition]],
    plans: Mapping[Partition, tuple[Plan | None, str]],
) -> str:
    """Say which columns have which types where."""
    used: dict[str, dict[str, list[Partition]]] = defaultdict(lambda: defaultdict(list))
    for partitions in kinds.values():
        for partition in partitions:
            plan, _ = plans[partition]
            for column in plan.used if plan else ():
                kind = plan.columns[column] if plan else ""
                used[column][kind].append(partition)
    said = [
        f"{column} is " + " and ".join(f"{kind} in {dates(found)}" for kind, found in by.items())
        for column, by in used.items()
        if len(by) > 1
    ]
    different = "; ".join(said) or "the columns that it reads are not the same in all partitions"
    return f"{different}; declare the types in the dataset's columns"


def _plan(query: str, columns: _Columns, lookups: LookupColumns) -> tuple[Plan | None, str]:
    """Return a plan and its fingerprint; or None, and why the query is refused."""
    try:
        plan = plan_query(query, dict(columns), lookups)
    except QueryError as error:
        return None, error.problem
    return plan, fingerprint(plan)


def _columns(dataset: Dataset, report: RunReport) -> _Columns:
    """Return what the columns of ``input`` were, with the types that they are declared to have now.

    So a declaration that changed since changes the fingerprint, too.
    """
    found = report.layout
    declared = {name.lower(): kind for name, kind in (dataset.columns or {}).items()}
    in_files = {name: declared.get(name.lower(), kind) for name, kind in found.columns.items()}
    layout = Layout(cast("FormatName", found.format), in_files, found.path_columns)
    return tuple(layout.input_columns.items())


def changed_lookups(parts: Sequence[Part]) -> tuple[str, ...]:
    """The names of the lookup tables that were not the same file for all parts."""
    files: dict[str, set[tuple[object, ...]]] = defaultdict(set)
    for part in parts:
        for lookup in part.report.lookups:
            files[lookup.name].add((lookup.path, lookup.bytes, lookup.modified))
    return tuple(sorted(name for name, found in files.items() if len(found) > 1))


def dates(partitions: Sequence[Partition]) -> str:
    """The keys of partitions as a text, what follows each other put together."""
    return ", ".join(
        first.key if first == last else f"{first.key} to {last.key}"
        for first, last in _runs(sorted(partitions))
    )


def _runs(partitions: Sequence[Partition]) -> Iterator[tuple[Partition, Partition]]:
    """Yield the first and the last of all partitions that follow each other."""
    first = last = None
    for partition in partitions:
        if last is not None and first is not None and partition != last.next:
            yield first, last
            first = None
        first, last = first or partition, partition
    if first is not None and last is not None:
        yield first, last
