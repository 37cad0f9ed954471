"""Describes a run for people, without running it."""

from __future__ import annotations

from collections.abc import Iterator

from beam_jobs.engine.parts import Share
from beam_jobs.engine.run import Output, Run
from beam_jobs.formats.layout import FILENAME
from beam_jobs.sql.functions import APPROXIMATE

_SHOWN_FILES = 5
_KILO = 1000
_UNITS = ("B", "kB", "MB", "GB", "TB")


def describe(work: Run) -> str:
    """Return what a run would read and compute, in lines of text."""
    lines = [*_files(work), "", *_layout(work)]
    for lookup in work.lookups:
        lines += ["", f"lookup {lookup.name}: {lookup.file.path}, {_size(lookup.file.size)}"]
        lines += _table([(name, kind, "") for name, kind in lookup.columns.items()])
    for output in work.outputs:
        lines += ["", *_query(output)]
    if work.profile is not None:
        lines += ["", f"profile: of {len(work.profile.columns)} columns"]
    lines += ["", *_places(work)]
    return "\n".join(lines) + "\n"


def _files(work: Run) -> Iterator[str]:
    yield f"files: {work.pattern}"
    shares = work.shares()
    yield (
        f"  {_count(len(work.files), 'file')}, {_size(work.bytes)}, "
        f"read in {_count(len(shares), 'share')}{_parts(shares)}"
    )
    for file in work.files[:_SHOWN_FILES]:
        yield f"  {file.path}  {_size(file.size)}"
    if len(work.files) > _SHOWN_FILES:
        yield f"  … and {len(work.files) - _SHOWN_FILES:,} more"


def _parts(shares: list[Share]) -> str:
    parts = sum(not part.is_whole for share in shares for part in share.parts)
    return f", {parts:,} of them parts of large files" if parts else ""


def _layout(work: Run) -> Iterator[str]:
    layout = work.layout
    yield f"format: {layout.name}"
    if layout.name in ("csv", "text"):
        dialect = layout.dialect
        said = dialect.__dict__ if layout.name == "csv" else {"encoding": dialect.encoding}
        yield "  " + ", ".join(f"{name} {_value(value)}" for name, value in said.items())
    yield "columns:"
    wanted = work.wanted
    rows = []
    for name, kind in layout.input_columns.items():
        if name in layout.columns:
            origin = "inferred" if name in layout.inferred else "declared"
        else:
            origin = "the file's path" if name == FILENAME else "from the path"
        rows.append((name, kind, origin if name in wanted else f"{origin}, not read"))
    yield from _table(rows)


def _value(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else repr(value)


def _query(output: Output) -> Iterator[str]:
    plan = output.plan
    yield f"query {output.name}: {_line(plan.query)}"
    yield f"  reads: {', '.join(plan.used) or 'no column, it counts rows'}"
    for number, relation in enumerate(plan.relations):
        label = "" if len(plan.relations) == 1 else f" {number}"
        yield f"  partial{label}: {_line(relation.partial)}"
        yield f"  combine{label}: {_line(relation.combine)}"
    for statement in plan.final:
        yield f"  final: {_line(statement)}"
    for name in plan.approximate:
        yield f"  approximate: {name}, {APPROXIMATE[name]}"
    yield f"  result: {_result(output)}"
    yield from _table([(name, kind, "") for name, kind in plan.result.items()], "    ")
    for path in output.states_paths:
        yield f"  states: {path}"


def _result(output: Output) -> str:
    return "printed as a table" if output.is_printed else output.path


def _places(work: Run) -> Iterator[str]:
    yield f"rejects: at most {work.max_rejects:,}, else nothing is published"
    if work.rejects_path:
        yield f"  kept in {work.rejects_path}"
    if work.report_path:
        yield f"report: {work.report_path}"


def _table(rows: list[tuple[str, str, str]], indent: str = "  ") -> Iterator[str]:
    widths = [max((len(row[n]) for row in rows), default=0) for n in (0, 1)]
    for name, kind, more in rows:
        yield f"{indent}{name:<{widths[0]}}  {kind:<{widths[1]}}  {more}".rstrip()


def _line(sql: str) -> str:
    return " ".join(sql.split())


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _size(size: int) -> str:
    value, unit = float(size), 0
    while value >= _KILO and unit < len(_UNITS) - 1:
        value, unit = value / _KILO, unit + 1
    return f"{value:.1f} {_UNITS[unit]}" if unit else f"{size} B"
