"""Describes a rollup for people, without computing it."""

from __future__ import annotations

from beam_jobs.publishing.rollup_sources import Rollup
from beam_jobs.publishing.rollups import changed_lookups
from beam_jobs.sql.functions import APPROXIMATE


def describe(work: Rollup) -> str:
    """Return what would be merged, what has changed since, and how, in lines of text."""
    version = work.published
    published = f"version {version.number} of run {version.run_id}" if version else "nothing"
    lines = [f"{work.folder}: {published} is published"]
    if work.is_published:
        lines.append("  nothing has changed since: there is nothing to do")
    before = version.sources if version else {}
    lines.append("sources:")
    for part in work.parts:
        key, run_id = part.partition.key, part.version.run_id
        note = "" if before.get(key, run_id) == run_id else f"  (was run {before[key]})"
        new = "  (new)" if version and key not in before else ""
        rows = f"{part.version.rows:,} rows"
        lines.append(f"  {key}  version {part.version.number}  run {run_id}  {rows}{note}{new}")
    lines += [f"lookup {name}: not the same file for all" for name in changed_lookups(work.parts)]
    for name, plan in work.plans.items():
        lines.append(f"query {name}: {' '.join(plan.query.split())}")
        statements = [("combine", relation.combine) for relation in plan.relations]
        statements += [("final", statement) for statement in plan.final]
        lines += [f"  {what}: {' '.join(sql.split())}" for what, sql in statements]
        lines += [f"  approximate: {one}, {APPROXIMATE[one]}" for one in plan.approximate]
    return "\n".join(lines) + "\n"
