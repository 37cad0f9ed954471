"""What a dataset is, as its YAML file declares it.

DAG files import this module each time they are parsed, so it imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, time
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    StringConstraints,
    ValidationInfo,
    field_validator,
)
from pydantic.json_schema import SkipJsonSchema

from beam_jobs.datasets.dataset_fields import (
    HOUR_PLACEHOLDER,
    check_lookup_name,
    check_lookup_path,
    check_pattern,
    check_time,
    check_timezone,
    fill_in,
    read_date,
    read_encoding,
)
from beam_jobs.datasets.dataset_parts import (
    Aggregate,
    BigQueryLoad,
    Check,
    DataflowOverrides,
    Name,
    Text,
    Wait,
)
from beam_jobs.datasets.partition import Grain, Partition
from beam_jobs.datasets.partition_paths import path_columns
from beam_jobs.datasets.schedule import SCHEDULE_PRESETS, check_schedule, is_hourly, is_on_every_day
from beam_jobs.formats.formats import (
    OPTION_FORMATS,
    Compression,
    Encoding,
    FileFormat,
    FormatName,
    check_sign,
)


def _read_aggregate(value: object) -> object:
    return {"query": value} if isinstance(value, str) else value


def _read_check(value: object) -> object:
    return {"condition": value} if isinstance(value, str) else value


class Dataset(BaseModel):
    """A stream of files with one layout, the aggregates computed from them, and when."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Tallyflow dataset")

    # Not in the file: the file's name says it.
    name: SkipJsonSchema[Name]
    description: Text = Field(
        description="What the files hold, in one sentence or more; Markdown. Shown in Airflow.",
        examples=["Every flight out of New York"],
    )
    owner: Text = Field(
        description="The team that answers for the dataset.", examples=["data-platform"]
    )
    tags: tuple[Annotated[Text, StringConstraints(max_length=100)], ...] = Field(
        default=(), description="Words to find the DAG by in Airflow.", examples=[["aviation"]]
    )
    schedule: Annotated[Text, AfterValidator(check_schedule)] = Field(
        default="@daily",
        description="When a partition is computed, by the clocks of the time zone: one of "
        f"{', '.join(SCHEDULE_PRESETS)}, or a cron expression of five parts.",
        examples=["@daily", "30 6 * * *"],
    )
    timezone: Annotated[Text, AfterValidator(check_timezone)] = Field(
        default="UTC",
        description="The time zone of the schedule and of the partitions' dates.",
        examples=["Europe/Berlin"],
    )
    start_date: Annotated[date, BeforeValidator(read_date)] = Field(
        description="The date of the first partition.", examples=["2013-01-01"]
    )
    catchup: StrictBool = Field(
        default=False,
        description="Whether Airflow computes all partitions since start_date by itself.",
    )
    retries: StrictInt = Field(
        default=2, ge=0, description="How often Airflow tries a failed task again."
    )
    pattern: Annotated[Text, AfterValidator(check_pattern)] = Field(
        description="The files of a partition: a path below the storage root, with {date} where "
        "the date is (as in 2013-01-31), {hour} where the hour of an hourly dataset is (as in 05), "
        "and * for any characters but /.",
        examples=["flights/date={date}/*.csv"],
    )
    format: FormatName | None = Field(
        default=None,
        description="csv: one record a line, in columns. text: lines, in the one column `line`. "
        "json: one object a line. Left out, the ending of the files decides.",
    )
    delimiter: Annotated[str, StringConstraints(min_length=1, max_length=4)] | None = Field(
        default=None,
        description="What separates the values of a CSV record. Left out, it is detected.",
        examples=[";", "\t"],
    )
    quote: Annotated[str, AfterValidator(check_sign)] | None = Field(
        default=None,
        description="What stands around CSV values that hold a delimiter or an end of line. Empty "
        "where quotes are characters like any other, and every end of line ends a record. Left "
        'out, it is ".',
        examples=["'", ""],
    )
    escape: Annotated[str, AfterValidator(check_sign)] | None = Field(
        default=None,
        description="What stands before a quote, a delimiter or an end of line that belongs to a "
        "CSV value. Left out, there is none, and a quote within quotes is doubled.",
        examples=["\\"],
    )
    comment: Annotated[str, AfterValidator(check_sign)] | None = Field(
        default=None,
        description="Lines of a CSV file that begin with it are no records. Left out, all are.",
        examples=["#"],
    )
    skip_lines: StrictInt | None = Field(
        default=None,
        ge=0,
        description="How many lines at the beginning of each CSV file, before its header, are no "
        "records. Left out, none.",
        examples=[3],
    )
    header: StrictBool | None = Field(
        default=None,
        description="Whether the first line of a CSV file names its columns. "
        "Left out, it is detected.",
    )
    null_strings: tuple[str, ...] | None = Field(
        default=None,
        description="Values of a CSV file that mean NULL, beside the empty one; quote each.",
        examples=[["NA"]],
    )
    compression: Compression | None = Field(
        default=None,
        description="How all files are compressed. Left out, the ending of each file decides.",
    )
    encoding: Annotated[Encoding, BeforeValidator(read_encoding)] | None = Field(
        default=None,
        description="The encoding of CSV and text files. Left out, it is utf-8, or utf-16 where "
        "the files show it.",
        examples=["windows-1252"],
    )
    columns: Mapping[Annotated[str, StringConstraints(min_length=1)], Text] | None = Field(
        default=None,
        min_length=1,
        description="DuckDB types of the columns by name, of all that the queries use; with "
        "them, `check_datasets` finds misspelled columns. Left out, they are detected.",
        examples=[{"origin": "VARCHAR", "dep_delay": "INTEGER"}],
    )
    aggregates: Mapping[
        Name,
        Annotated[
            Aggregate, BeforeValidator(_read_aggregate, json_schema_input_type=str | Aggregate)
        ],
    ] = Field(
        min_length=1,
        description="The aggregates by name: a query each, or a query with its description.",
        examples=[{"total": "SELECT count(*) AS records FROM input"}],
    )
    checks: Mapping[
        Name,
        Annotated[Check, BeforeValidator(_read_check, json_schema_input_type=str | Check)],
    ] = Field(
        default={},
        description="What has to be true before a partition is published, by name: a condition "
        "each, or a condition with its severity.",
        examples=[{"has_rows": "rows > 0"}],
    )
    lookups: Mapping[
        Annotated[str, AfterValidator(check_lookup_name)],
        Annotated[Text, AfterValidator(check_lookup_path)],
    ] = Field(
        default={},
        description="Small files that the queries may join, by the name that they have there: "
        "paths below the storage root, of CSV, JSON lines or Parquet.",
        examples=[{"airports": "reference/airports.csv"}],
    )
    on_drift: Literal["ignore", "fail"] = Field(
        default="ignore",
        description="What happens when a file lacks a column of the others or has one more: it "
        "is NULL or ignored, and reported, or the run fails.",
    )
    profile: StrictBool = Field(
        default=True,
        description="Whether the run report has a profile of all columns: how many values are "
        "missing or distinct, range, quantiles, frequent values. All columns are read for it.",
    )
    max_rejects: StrictInt = Field(
        default=0,
        ge=0,
        description="How many records of a partition may be unreadable before the run fails.",
    )
    output_format: Literal["parquet", "csv", "jsonl"] = Field(
        default="parquet", description="The format of the result files."
    )
    wait: Wait | None = Field(
        default=None,
        description="What is waited for before the files are read. Left out, nothing.",
        examples=[{"marker": "flights/date={date}/_SUCCESS"}],
    )
    when_missing: Literal["fail", "skip", "publish_empty"] = Field(
        default="fail",
        description="What happens when a partition has no files: the run fails, is skipped, or an "
        "empty result is published.",
    )
    ready_by: Annotated[Text, AfterValidator(check_time)] | None = Field(
        default=None,
        description="When a partition has to be published on the day that it is computed, by the "
        "clocks of the time zone; else there is an alert. Quote it.",
        examples=["06:00"],
    )
    keep_versions: StrictInt = Field(
        default=3,
        ge=1,
        description="How many versions of a partition are kept, the published one among them.",
    )
    rollups: tuple[Literal["week", "month"], ...] = Field(
        default=(),
        description="The longer periods that are computed from the states of the partitions.",
        examples=[["week", "month"]],
    )
    bigquery: BigQueryLoad | None = Field(
        default=None,
        description="Where in BigQuery the published results are loaded. Left out, nowhere.",
        examples=[{"dataset": "analytics"}],
    )
    dataflow: DataflowOverrides | None = Field(
        default=None,
        description="What its jobs on Dataflow need other than those of all datasets. Left out, "
        "the settings hold.",
        examples=[{"machine_type": "n2-highmem-8", "max_num_workers": 100}],
    )

    @field_validator(*OPTION_FORMATS)
    @classmethod
    def _goes_with_the_format(cls, value: object, info: ValidationInfo) -> object:
        kind, kinds = info.data.get("format"), OPTION_FORMATS[str(info.field_name)]
        if kind is not None and kind not in kinds:
            names = " and ".join(kinds)
            raise ValueError(f"is for {names} files only; delete it, or change the format {kind}")
        return value

    @field_validator("pattern")
    @classmethod
    def _hours_are_told_apart(cls, pattern: str, info: ValidationInfo) -> str:
        schedule, zone = info.data.get("schedule"), info.data.get("timezone")
        if HOUR_PLACEHOLDER not in pattern or schedule is None or zone is None:
            return pattern
        if not is_hourly(schedule):
            raise ValueError(
                f"has an {{hour}}, but the schedule {schedule!r} does not run in every hour; write "
                "schedule: '@hourly' or '15 * * * *', or take {hour} out"
            )
        if zone != "UTC":
            raise ValueError(
                f"has an {{hour}}, and where clocks are set back, as they may be in {zone}, two "
                "hours have one name; write timezone: UTC, or take {hour} out"
            )
        return pattern

    @field_validator("rollups")
    @classmethod
    def _can_be_complete(cls, rollups: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if len(set(rollups)) < len(rollups):
            raise ValueError("names a period twice; write each once")
        schedule = info.data.get("schedule")
        if rollups and schedule is not None and not is_on_every_day(schedule):
            raise ValueError(
                f"would wait for days without a run, as the schedule is {schedule!r}; write a "
                "schedule that runs on every day, or delete this line"
            )
        return rollups

    @field_validator("bigquery")
    @classmethod
    def _loads_what_there_is(cls, load: BigQueryLoad, info: ValidationInfo) -> BigQueryLoad:
        if info.data.get("output_format") != "parquet":
            raise ValueError("needs results in Parquet; write output_format: parquet")
        for name in load.aggregates or ():
            if name not in info.data.get("aggregates", {}):
                raise ValueError(f"names {name!r}, which is none of the aggregates")
        return load

    @field_validator("columns")
    @classmethod
    def _distinct_columns(cls, columns: Mapping[str, str]) -> Mapping[str, str]:
        seen: dict[str, str] = {}
        for column in columns:
            # DuckDB's column names are case-insensitive.
            if (other := seen.setdefault(column.lower(), column)) != column:
                raise ValueError(f"names one column twice, as {other} and {column}; keep one")
        return columns

    @property
    def grain(self) -> Grain:
        """How long its partitions are, ``day`` or ``hour``."""
        return "hour" if HOUR_PLACEHOLDER in self.pattern else "day"

    @property
    def first_partition(self) -> Partition:
        """The partition that begins on the start date."""
        return Partition.holding(datetime.combine(self.start_date, time.min), self.grain)

    @property
    def file_format(self) -> FileFormat:
        """What the declaration says about the layout of the files."""
        # Path columns are the same for each partition, those without files among them; and texts
        # for hours, which are written like 05. What a * stands for is found out.
        first = Partition(self.first_partition.start, "hour")
        folder = fill_in(self.pattern.rpartition("/")[0], first)
        named = [part for part in folder.split("/") if "*" not in part]
        return FileFormat(
            self.format,
            **{name: getattr(self, name) for name in OPTION_FORMATS},
            path_columns=path_columns([f"{'/'.join(named)}/"]),
        )

    def input_pattern(self, partition: Partition) -> str:
        """The pattern of one partition's files, relative to the storage root."""
        return fill_in(self.pattern, partition)
