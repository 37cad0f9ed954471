"""The run report: one JSON document that says what a run read, found and computed.

Whoever shows or checks a run reads it, DAG files too: nothing heavy is imported here.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping

from pydantic import Field

from beam_jobs.documents import Document, Part

# Of the quantiles in a profile.
PERCENTS = (5, 25, 50, 75, 95)


class Versions(Part):
    """What computed the numbers."""

    tallyflow: str
    duckdb: str
    beam: str
    python: str


class FileRead(Part):
    """A file that was read."""

    path: str
    bytes: int = Field(description="As it is stored, so before it is decompressed.")
    modified: datetime.datetime | None = Field(description="Null where that is not known.")


class LookupRead(FileRead):
    """A lookup table that a query joined."""

    name: str


class FileChange(FileRead):
    """A file that is not what it was when another run read it."""

    bytes_before: int
    modified_before: datetime.datetime | None


class Changes(Part):
    """How the files of a run differ from those of what was published when it began."""

    version: int = Field(description="The version that was published then.")
    late: tuple[FileRead, ...] = Field(description="Files that it was not computed from.")
    changed: tuple[FileChange, ...] = Field(description="Files of another size, or changed since.")
    gone: tuple[FileRead, ...] = Field(description="Files that are not there any more.")


class Inputs(Part):
    """The files of the run, fixed before it began."""

    pattern: str
    number: int
    bytes: int = Field(description="Of all files together, as they are stored.")
    files: tuple[FileRead, ...] = Field(description="In the order of their paths.")
    since: Changes | None = Field(
        default=None,
        description="What differs from the version that was published when the run began; null "
        "if there was none.",
    )


class Columns(Part):
    """How the files were read."""

    format: str
    columns: Mapping[str, str] = Field(description="Name to DuckDB type, of the files' columns.")
    path_columns: Mapping[str, str] = Field(
        description="Likewise, of the columns in the files' paths."
    )
    inferred: tuple[str, ...] = Field(description="The columns whose type was not declared.")
    options: Mapping[str, str | int | tuple[str, ...]] = Field(
        default={},
        description="What decides which values CSV files hold, beside what is found out of each.",
    )


class RejectFound(Part):
    """A record that could not be read."""

    file: str
    line: int = Field(description="Where the record begins, from 1.")
    text: str = Field(description="The record as it stands in the file, cut if it is long.")
    reason: str
    lines: int = Field(default=1, description="How many lines of the file it takes.")


class Rejects(Part):
    """The records that could not be read."""

    count: int
    limit: int = Field(description="More than these, and there is no result.")
    path: str | None = Field(description="Where they are kept, if there are any.")
    first: tuple[RejectFound, ...] = Field(description="The first ten, by file and line.")


class DriftFound(Part):
    """A column that not all files have."""

    column: str
    files: int = Field(description="In how many files it is missing, or new.")
    first_file: str


class Drift(Part):
    """Where files have other columns than the run."""

    missing: tuple[DriftFound, ...] = Field(description="Columns of the run; read as NULL.")
    new: tuple[DriftFound, ...] = Field(description="Columns of a file; ignored.")


class AggregateReport(Part):
    """One query and its result."""

    name: str
    query: str
    fingerprint: str = Field(
        description="Of the query and the types that it reads; states merge if theirs are equal."
    )
    result: str | None = Field(description="The result's file; null for a table that is printed.")
    states: tuple[str, ...] = Field(description="The files of its states, one for each relation.")
    rows: int
    columns: Mapping[str, str] = Field(description="Name to DuckDB type, in order.")
    approximate: Mapping[str, str] = Field(
        description="The approximate aggregates that it uses, with the error to expect."
    )


class FrequentValue(Part):
    """A value, and how often it occurs: a range, of one number where that is known exactly."""

    value: str
    at_least: int
    at_most: int


class ColumnProfile(Part):
    """What a column holds; null where the type has no such number."""

    name: str
    type: str
    nulls: int
    distinct: int | None = Field(description="Distinct values, approximately.")
    min: str | None = Field(description="As text; a long one is cut after 200 characters.")
    max: str | None
    mean: float | None = Field(description="Of numbers, those that are finite.")
    quantiles: Mapping[str, float] | None = Field(
        description='By percent ("5", "25", "50", "75", "95"), approximately; likewise.'
    )
    frequent: tuple[FrequentValue, ...] | None = Field(
        description="Up to ten values, each proven to be more frequent than `others_at_most`."
    )
    others_at_most: int | None = Field(
        description="How often any value may occur that was not counted throughout."
    )


class Profile(Part):
    """The columns, in the order of the files."""

    columns: tuple[ColumnProfile, ...]
    approximate: Mapping[str, str] = Field(
        description="The approximate numbers, with the error to expect."
    )


class EstimatedPrice(Part):
    """What a job costs by Dataflow's list prices: an estimate, and no bill."""

    amount: float = Field(
        description="An estimate: workers, their disks and the shuffle service, without discounts, "
        "commitments and taxes, and without other services, such as storage and network."
    )
    currency: str
    prices_as_of: datetime.date = Field(description="When the list prices held.")


class Usage(Part):
    """What the job used, as Dataflow counted it when the job's end was seen.

    Null is what Dataflow does not say. A GB has 2^30 bytes.
    """

    job_id: str
    region: str
    flexrs: bool = Field(description="Whether it was scheduled flexibly, at lower prices.")
    vcpu_hours: float | None
    memory_gb_hours: float | None
    disk_gb_hours: float | None
    ssd_gb_hours: float | None
    shuffled_bytes: int | None = Field(description="Written to and read from the shuffle service.")
    charged_shuffle_bytes: int | None = Field(description="Those of them that count for the price.")
    estimated_price: EstimatedPrice | None = Field(
        default=None, description="An estimate by list prices; null if there is none."
    )
    no_price: str | None = Field(default=None, description="Why there is none.")

    def __str__(self) -> str:
        shuffled = self.shuffled_bytes and self.shuffled_bytes / 2**30
        parts = [
            f"{value:.4g} {unit}"
            for value, unit in (
                (self.vcpu_hours, "vCPU hours"),
                (self.memory_gb_hours, "GB hours of memory"),
                (shuffled, "GB of shuffle"),
            )
            if value is not None
        ]
        used = ", ".join(parts) or "what Dataflow does not say"
        if self.estimated_price is None:
            return f"{used}; no price is estimated: {self.no_price}"
        price = self.estimated_price
        return (
            f"{used}: an estimated {price.amount:.4f} {price.currency} by the list prices of "
            f"{self.region} as of {price.prices_as_of}"
        )


class Launch(Part):
    """What is known of a run before it begins."""

    versions: Versions
    run_id: str
    dataset: str | None = Field(description="Null for a query given on the command line.")
    partition: str | None = Field(description="Key of the dataset's partition.")
    started: datetime.datetime
    inputs: Inputs
    lookups: tuple[LookupRead, ...]
    layout: Columns


class RunReport(Launch, Document):
    """What a run read, found and computed."""

    kind = "run report"

    finished: datetime.datetime
    seconds: float
    complete: bool = Field(description="Whether there are results to publish.")
    problem: str | None = Field(description="Why there are none.")
    rows: int = Field(description="Records that were aggregated.")
    rejects: Rejects
    drift: Drift
    aggregates: tuple[AggregateReport, ...]
    profile: Profile | None
    usage: Usage | None = Field(
        default=None,
        description="What the job used of Dataflow; null for a run elsewhere, and where it is not "
        "known.",
    )
