"""What a dataset is, as its YAML file declares it, and the reading of that file.

DAG files import this module each time they are parsed, so it imports nothing heavy.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
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
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic.fields import FieldInfo
from pydantic.json_schema import SkipJsonSchema

from beam_jobs.dataset_fields import (
    DATE_PLACEHOLDER,
    check_lookup_name,
    check_lookup_path,
    check_pattern,
    read_date,
    read_encoding,
)
from beam_jobs.dataset_problems import NAME_RULE, explain
from beam_jobs.errors import UsageError
from beam_jobs.formats import (
    OPTION_FORMATS,
    Compression,
    Encoding,
    FileFormat,
    FormatName,
    check_sign,
)
from beam_jobs.schedule import SCHEDULE_PRESETS, check_schedule
from beam_jobs.yaml_document import FieldPath, Problem, YamlDocument, read_yaml

NAME_PATTERN = "^[a-z][a-z0-9_]{0,62}$"


def _read_aggregate(value: object) -> object:
    return {"query": value} if isinstance(value, str) else value


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
        description=f"When a partition is computed, in UTC: one of {', '.join(SCHEDULE_PRESETS)}, "
        "or a cron expression of five parts.",
        examples=["@daily", "30 6 * * *"],
    )
    start_date: Annotated[datetime.date, BeforeValidator(read_date)] = Field(
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
        "the date is (as in 2013-01-31) and * for any characters but /.",
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
    when_missing: Literal["fail", "publish_empty"] = Field(
        default="fail",
        description="What happens when a partition has no files: the run fails, or an empty "
        "result is published.",
    )

    @field_validator(*OPTION_FORMATS)
    @classmethod
    def _goes_with_the_format(cls, value: object, info: ValidationInfo) -> object:
        kind, kinds = info.data.get("format"), OPTION_FORMATS[str(info.field_name)]
        if kind is not None and kind not in kinds:
            names = " and ".join(kinds)
            raise ValueError(f"is for {names} files only; delete it, or change the format {kind}")
        return value

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
    def file_format(self) -> FileFormat:
        """What the declaration says about the layout of the files."""
        return FileFormat(self.format, **{name: getattr(self, name) for name in OPTION_FORMATS})

    def input_pattern(self, date: datetime.date) -> str:
        """The pattern of one partition's files, relative to the storage root."""
        return self.pattern.replace(DATE_PLACEHOLDER, date.strftime("%Y-%m-%d"))


class DatasetError(UsageError):
    """A dataset file that cannot be used, with all that is wrong with it.

    Args:
        problems: One line each, ``file:line: field: value and what to do``.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(problems))


def dataset_files(folder: Path) -> list[Path]:
    """The dataset files of a folder by name; a file whose name begins with ``_`` is none."""
    return sorted(path for path in folder.glob("*.yaml") if not path.name.startswith("_"))


def load_dataset(path: Path) -> Dataset:
    """Reads a dataset file; the dataset has the file's name, without ``.yaml``.

    Raises:
        DatasetError: The file cannot be read or has mistakes; it lists all of them.
    """
    document = _read_document(path)
    problems = list(document.problems)
    if path.suffix != ".yaml":
        text = f"the ending {path.suffix!r} is not that of a dataset file; rename it to .yaml"
        problems.append(Problem(1, (), text))
    if not re.fullmatch(NAME_PATTERN, path.stem):
        text = f"the file is named {path.stem!r}, and so would the dataset be; {NAME_RULE}"
        problems.append(Problem(1, ("name",), text))
    dataset = None
    if isinstance(document.value, dict):
        if "name" in document.value:
            text = f"the dataset has the file's name, {path.stem!r}; delete this line"
            problems.append(Problem(document.line(("name",)), ("name",), text))
        try:
            dataset = Dataset.model_validate({**document.value, "name": path.stem})
        except ValidationError as error:
            # What is said above about the name, and about fields without a value, is enough.
            problems += [
                explain(detail, _fields(detail["loc"]), document)
                for detail in error.errors()
                if detail["loc"] != ("name",) and detail["input"] is not None
            ]
    elif not problems:
        what = "the file is empty" if document.value is None else "the file holds no fields"
        problems.append(
            Problem(1, (), f"{what}; declare a dataset, beginning with its description")
        )
    if problems or dataset is None:
        problems.sort(key=lambda problem: problem.line)
        raise DatasetError([render_problem(path, problem) for problem in problems])
    return dataset


def line_of(path: Path, field: FieldPath, position: int | None = None) -> int:
    """Finds the line of a field in a dataset file, or that of a character of the field's text.

    Args:
        path: The dataset file.
        field: The field, as in ``("aggregates", "by_origin", "query")``.
        position: Offset of a character in a query, None for the field's own line.

    Returns:
        The line, from 1.
    """
    return _read_document(path).line(field, position)


def render_problem(path: Path, problem: Problem) -> str:
    """Renders a problem of a dataset file as ``file:line: field: what``, in one line."""
    field = ".".join(map(str, problem.path)).replace("\n", "\\n")
    return ": ".join(filter(None, (f"{path}:{problem.line}", field, problem.text)))


def _read_document(path: Path) -> YamlDocument:
    try:
        data = path.read_bytes()
    except IsADirectoryError as error:
        raise DatasetError([f"{path}: the folder has no dataset; add a .yaml file"]) from error
    except OSError as error:
        raise DatasetError([f"{path}: cannot be read: {error.strerror}"]) from error
    try:
        return read_yaml(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        text = f"the byte {data[error.start]:#x} is not UTF-8; save the file in that encoding"
        raise DatasetError([f"{path}:{line}: {text}"]) from error


def _fields(loc: FieldPath) -> Mapping[str, FieldInfo]:
    """The fields that are valid beside the one an error is about."""
    if len(loc) > 1:
        return Aggregate.model_fields
    return {name: field for name, field in Dataset.model_fields.items() if name != "name"}
