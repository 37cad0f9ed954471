"""The parts of a dataset's declaration: aggregates, checks, what to wait for, where to load.

DAG files import this module each time they are parsed, so it imports nothing heavy.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StrictInt,
    StringConstraints,
    model_validator,
)

from beam_jobs.datasets.dataset_fields import check_bigquery_name, check_marker

NAME_PATTERN = "^[a-z][a-z0-9_]{0,62}$"

Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class Aggregate(BaseModel):
    """A named SQL query over the records of a partition."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    query: Text = Field(
        description="The SQL, an aggregate query over the one table `input`.",
        examples=["SELECT origin, count(*) AS flights FROM input GROUP BY origin"],
    )
    description: Text | None = Field(
        default=None, description="What the numbers mean, for those who read them."
    )


class Check(BaseModel):
    """A named condition that the numbers of a partition have to meet."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    condition: Text = Field(
        description="What has to be true, in SQL: of the run, its columns, its results, and the "
        "partitions before.",
        examples=["null_fraction(dep_time) < 0.05"],
    )
    severity: Literal["error", "warn"] = Field(
        default="error",
        description="error: where it is not true, nothing is published. warn: it is recorded.",
    )
    description: Text | None = Field(
        default=None, description="What it means when it is not true, and what to do then."
    )


class Wait(BaseModel):
    """What the files of a partition are waited for, and how long; one of the first three."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    marker: Annotated[Text, AfterValidator(check_marker)] | None = Field(
        default=None,
        description="Until this file is there: a path below the storage root, with {date} and "
        "{hour} as in the pattern.",
        examples=["flights/date={date}/_SUCCESS"],
    )
    files: StrictInt | None = Field(
        default=None,
        ge=1,
        description="Until there are so many files.",
        examples=[24],
    )
    unchanged_minutes: StrictInt | None = Field(
        default=None,
        ge=1,
        description="Until there is a file, and for so many minutes none came and none changed.",
        examples=[10],
    )
    timeout_minutes: StrictInt = Field(
        default=360, ge=1, description="How long at most; `when_missing` says what happens then."
    )

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        given = [self.marker, self.files, self.unchanged_minutes]
        if sum(value is not None for value in given) != 1:
            raise ValueError("needs one of marker, files and unchanged_minutes; write one")
        return self


class BigQueryLoad(BaseModel):
    """Where the published results are loaded, each partition replacing itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: Annotated[Text, AfterValidator(check_bigquery_name)] = Field(
        description="The dataset in BigQuery; the tables are <dataset>_<aggregate>, partitioned "
        "by day or hour.",
        examples=["analytics"],
    )
    project: Text | None = Field(
        default=None, description="Its project. Left out, that of the jobs."
    )
    aggregates: tuple[Name, ...] | None = Field(
        default=None,
        min_length=1,
        description="Which aggregates. Left out, all.",
        examples=[["by_origin"]],
    )


class DataflowOverrides(BaseModel):
    """What the jobs of one dataset need other than those of all: for a big one, or a late one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    machine_type: Annotated[Text, StringConstraints(pattern="^[a-z0-9-]+$")] | None = Field(
        default=None, description="The machine type of a worker.", examples=["n2-highmem-8"]
    )
    max_num_workers: StrictInt | None = Field(
        default=None, ge=1, le=1000, description="The most workers of a job.", examples=[100]
    )
    disk_size_gb: StrictInt | None = Field(
        default=None, ge=30, description="The disk of a worker, on which large groups spill."
    )
    flexrs_goal: Literal["COST_OPTIMIZED", "SPEED_OPTIMIZED"] | None = Field(
        default=None,
        description="COST_OPTIMIZED: the job may wait up to six hours, and costs less.",
    )
