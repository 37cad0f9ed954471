"""The report of a rollup: one JSON document that says from what it was computed, and what it is.

Whoever shows partitions reads it, DAG files too: nothing heavy is imported here.
"""

from __future__ import annotations

import datetime
from typing import Literal

from pydantic import Field

from beam_jobs.documents import Document, Part
from beam_jobs.engine.run_report import AggregateReport


class RollupVersions(Part):
    """What computed the numbers."""

    tallyflow: str
    duckdb: str
    python: str


class Source(Part):
    """A published partition whose states were merged."""

    partition: str
    run_id: str
    rows: int = Field(description="Records that were aggregated.")


class RollupReport(Document):
    """From which partitions a week or month was computed, and what came out."""

    kind = "report of a rollup"

    versions: RollupVersions
    run_id: str
    dataset: str
    grain: Literal["week", "month"]
    partition: str = Field(description="The key of the week or month.")
    started: datetime.datetime
    finished: datetime.datetime
    seconds: float
    rows: int = Field(description="Records that were aggregated, in all sources together.")
    sources: tuple[Source, ...] = Field(description="In the order of time.")
    changed_lookups: tuple[str, ...] = Field(
        description="Lookup tables that were not the same file for all sources; each record was "
        "joined with the one of its own partition."
    )
    aggregates: tuple[AggregateReport, ...]
