"""The report of a rollup: one JSON document that says from what it was computed, and what it is.

Whoever shows partitions reads it, DAG files too: nothing heavy is imported here.
"""

from __future__ import annotations

import datetime
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from beam_jobs.engine.run_report import AggregateReport
from beam_jobs.errors import InputError


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RollupVersions(_Model):
    """What computed the numbers."""

    tallyflow: str
    duckdb: str
    python: str


class Source(_Model):
    """A published partition whose states were merged."""

    partition: str
    run_id: str
    rows: int = Field(description="Records that were aggregated.")


class RollupReport(_Model):
    """From which partitions a week or month was computed, and what came out."""

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

    def to_json(self) -> str:
        """The report as a JSON document."""
        return self.model_dump_json(indent=2) + "\n"

    @classmethod
    def of_json(cls, text: str | bytes, path: str) -> Self:
        """Reads a report.

        Args:
            text: The JSON document.
            path: Where it is from, for errors.

        Raises:
            InputError: It is none.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the document"
            problem = f"{path}: is no report of a rollup: {where}: {first['msg']}"
            raise InputError(problem) from error
