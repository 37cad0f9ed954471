"""What a dataset file may say, and how each mistake in one is reported."""

from __future__ import annotations

import datetime
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_jobs.datasets.dataset import DatasetError, dataset_files, line_of, load_dataset
from beam_jobs.datasets.dataset_model import Dataset
from beam_jobs.datasets.dataset_parts import Check
from beam_jobs.datasets.dataset_schema import render_schema
from beam_jobs.datasets.partition import Partition
from beam_jobs.errors import UsageError
from beam_jobs.formats.formats import FileFormat

REPOSITORY = Path(__file__).parents[2]
FLIGHTS = REPOSITORY / "dags/datasets/flights.yaml"

VALID = {
    "description": "Flights",
    "owner": "data-platform",
    "start_date": "2013-01-01",
    "pattern": "flights/date={date}/*.csv",
    "aggregates": "{total: SELECT count(*) AS n FROM input}",
}


def write(folder: Path, text: str, name: str = "flights.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def valid_text(**fields: str) -> str:
    return "".join(f"{name}: {value}\n" for name, value in (VALID | fields).items())


def load(folder: Path, **fields: str) -> Dataset:
    return load_dataset(write(folder, valid_text(**fields)))


def problems_of(path: Path) -> list[str]:
    """The problems of a file, each without the file's folder."""
    with pytest.raises(DatasetError) as caught:
        load_dataset(path)
    assert str(caught.value) == "\n".join(caught.value.problems)
    return [problem.removeprefix(f"{path.parent}/") for problem in caught.value.problems]


def problem_with(folder: Path, **fields: str) -> str:
    (problem,) = problems_of(write(folder, valid_text(**fields)))
    return problem.removeprefix("flights.yaml:")


def test_a_dataset_has_the_name_of_its_file_and_the_defaults(tmp_path: Path) -> None:
    dataset = load(tmp_path)
    assert dataset.name == "flights"
    assert dataset.start_date == datetime.date(2013, 1, 1)
    assert dataset.aggregates["total"].query == "SELECT count(*) AS n FROM input"
    assert (dataset.schedule, dataset.catchup, dataset.retries) == ("@daily", False, 2)
    assert (dataset.tags, dataset.max_rejects) == ((), 0)
    assert (dataset.output_format, dataset.when_missing) == ("parquet", "fail")
    assert dataset.file_format == FileFormat(path_columns={"date": "DATE"})


def test_the_file_format_holds_what_is_declared(tmp_path: Path) -> None:
    dataset = load(
        tmp_path,
        format="csv",
        delimiter='"\\t"',
        header="false",
        null_strings="['NA', '']",
        columns="{a: INTEGER}",
    )
    assert dataset.file_format == FileFormat(
        "csv", "\t", False, ("NA", ""), {"a": "INTEGER"}, path_columns={"date": "DATE"}
    )


def test_the_columns_of_the_paths_are_the_same_for_each_partition(tmp_path: Path) -> None:
    pattern = "x/v=1/region=*/{date}/date={date}/hour={hour}/*.csv"
    dataset = load(tmp_path, pattern=pattern, schedule="'@hourly'")
    expected = {"v": "BIGINT", "date": "DATE", "hour": "VARCHAR"}
    assert dataset.file_format.path_columns == expected


def test_the_file_format_holds_the_dialect(tmp_path: Path) -> None:
    dataset = load(
        tmp_path,
        quote='""',
        escape="'\\'",
        comment="'#'",
        skip_lines="3",
        encoding="ISO-8859-1",
    )
    assert dataset.file_format == FileFormat(
        quote="",
        escape="\\",
        comment="#",
        skip_lines=3,
        encoding="latin-1",
        path_columns={"date": "DATE"},
    )


def test_the_input_pattern_has_the_date_filled_in(tmp_path: Path) -> None:
    dataset = load(tmp_path, pattern="a/{date}/b-{date}.csv")
    assert (
        dataset.input_pattern(Partition.parse("2013-01-09", "day"))
        == "a/2013-01-09/b-2013-01-09.csv"
    )


def test_a_dataset_with_an_hour_in_its_pattern_is_hourly(tmp_path: Path) -> None:
    dataset = load(tmp_path, pattern="a/{date}/{hour}.csv", schedule="15 * * * *")
    assert dataset.input_pattern(Partition.parse("2013-01-09T05", "hour")) == "a/2013-01-09/05.csv"
    assert dataset.first_partition.key == "2013-01-01T00"


def test_hours_that_may_come_twice_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="two hours have one name"):
        load(tmp_path, pattern="x/{date}/{hour}", schedule="'@hourly'", timezone="Europe/Berlin")


def test_a_condition_alone_is_a_check(tmp_path: Path) -> None:
    dataset = load(tmp_path, checks="{has_rows: rows > 0}")
    assert dataset.checks["has_rows"] == Check(condition="rows > 0", severity="error")


def test_defaults_are_those_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "_defaults.yaml").write_text("retries: 5\nowner: everybody\n")
    dataset = load(tmp_path)
    assert dataset.retries == 5
    assert dataset.owner == "data-platform"


def test_defaults_are_read_again_when_they_have_changed(tmp_path: Path) -> None:
    assert load(tmp_path).retries == 2
    (tmp_path / "_defaults.yaml").write_text("retries: 5\n")
    assert load(tmp_path).retries == 5
    (tmp_path / "_defaults.yaml").write_text("retries:  7\n")
    assert load(tmp_path).retries == 7


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("retries: many", "_defaults.yaml:1: retries: 'many' is not a whole number"),
        (
            "owner: a\nretires: 5",
            "_defaults.yaml:2: retires: unknown field; did you mean",
        ),
        ("pattern: x/{date}", "_defaults.yaml:1: pattern: is each dataset's own; write it in"),
        ("- a", "_defaults.yaml:1: the file holds no fields; write 'owner: …'"),
        ("a: [", "_defaults.yaml:"),
    ],
)
def test_a_mistake_in_the_defaults_is_reported_there(
    tmp_path: Path, text: str, problem: str
) -> None:
    (tmp_path / "_defaults.yaml").write_text(text)
    with pytest.raises(DatasetError, match=re.escape(problem)):
        load(tmp_path)


def test_an_aggregate_may_have_a_description(tmp_path: Path) -> None:
    dataset = load(tmp_path, aggregates="{total: {query: SELECT 1, description: All}}")
    assert dataset.aggregates["total"].description == "All"


def test_a_quoted_start_date_is_a_date(tmp_path: Path) -> None:
    assert load(tmp_path, start_date="'2013-02-03'").start_date == datetime.date(2013, 2, 3)


def test_a_byte_order_mark_and_windows_line_ends_are_read(tmp_path: Path) -> None:
    path = tmp_path / "flights.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + valid_text().replace("\n", "\r\n").encode())
    assert load_dataset(path).description == "Flights"


def test_the_datasets_of_a_folder_come_by_name_and_without_drafts(tmp_path: Path) -> None:
    for name in ("b.yaml", "a.yaml", "_draft.yaml", "readme.md"):
        write(tmp_path, "", name)
    assert [path.name for path in dataset_files(tmp_path)] == ["a.yaml", "b.yaml"]


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("aggregate", "x", "6: aggregate: unknown field; did you mean 'aggregates'?"),
        ("Owner", "x", "6: Owner: unknown field; did you mean 'owner'?"),
        ("zzzz", "x", "6: zzzz: unknown field; the fields are description, owner, tags, schedule"),
        ("name", "x", "6: name: the dataset has the file's name, 'flights'; delete this line"),
        ("description", "' '", "1: description: ' ' is empty; write some text"),
        ("description", "", "1: description: has no value; give one, or delete the line"),
        ("owner", "NO", "2: owner: NO is read by YAML as a boolean; quote it: 'NO'"),
        ("owner", "2013-01-01", "2: owner: 2013-01-01 is read by YAML as a date; quote it: '2013"),
        ("owner", "1e3", "2: owner: 1e3 is read by YAML as a number; quote it: '1e3'"),
        ("owner", "[a]", "2: owner: ['a'] is not text; write text, in quotes if it begins with"),
        ("tags", "x", "6: tags: 'x' is not a list; write it in brackets, as in [a, b]"),
        ("tags", f"[{'x' * 101}]", f"6: tags.0: '{'x' * 78}… is too long; write 100 characters"),
        ("schedule", "0 25 * * *", "6: schedule: '0 25 * * *' has '25' as the hour; that is *"),
        ("start_date", "soon", "3: start_date: 'soon' is no date (Invalid isoformat string: 'soon"),
        ("start_date", "2013-02-30", "3: start_date: 2013-02-30 is no date (day is out of range"),
        ("start_date", "20130101", "3: start_date: 20130101 is no date; write one such as 2013-01"),
        ("start_date", "2013-01-01 10:00:00", "3: start_date: 2013-01-01 10:00:00 is no date;"),
        ("catchup", "'yes'", "6: catchup: 'yes' is neither true nor false"),
        ("retries", "-1", "6: retries: -1 is too small; write 0 or more"),
        ("retries", "true", "6: retries: true is not a whole number; write one, without quotes"),
        ("retries", "'2'", "6: retries: '2' is not a whole number; write one, without quotes"),
        ("retries", "010", "6: retries: 010 is read by YAML as the number 8; write 8, or '010'"),
        ("max_rejects", "1e3", "6: max_rejects: 1e3 is not a whole number; write one"),
        ("pattern", "/x/{date}.csv", "4: pattern: '/x/{date}.csv' is absolute; write it relative"),
        ("pattern", "gs://b/{date}.csv", "4: pattern: 'gs://b/{date}.csv' names a storage; leave"),
        ("pattern", "../{date}.csv", "4: pattern: '../{date}.csv' has the part '..'; name each"),
        ("pattern", "x/{date}/", "4: pattern: 'x/{date}/' has the part ''; name each folder"),
        ("pattern", "x/*.csv", "4: pattern: 'x/*.csv' has no {date}; write it where the"),
        (
            "pattern",
            "x/{data}/*.csv",
            "4: pattern: 'x/{data}/*.csv' has other braces than",
        ),
        (
            "pattern",
            "x/{{date}}/*",
            "4: pattern: 'x/{{date}}/*' has other braces than",
        ),
        ("format", "cvs", "6: format: 'cvs' is not one of csv, text, json, parquet, avro; did"),
        ("format", "xml", "6: format: 'xml' is not one of csv, text"),
        ("delimiter", "''", "6: delimiter: '' is empty; write some text"),
        ("quote", "ab", "6: quote: 'ab' is not one character of ASCII, or none: no letter, digit"),
        ("escape", "é", "6: escape: 'é' is not one character of ASCII, or none"),
        ("comment", "5", "6: comment: 5 is read by YAML as a number; quote it: '5'"),
        ("skip_lines", "-1", "6: skip_lines: -1 is too small; write 0 or more"),
        ("skip_lines", "'3'", "6: skip_lines: '3' is not a whole number; write one, without"),
        ("encoding", "ebcdic", "6: encoding: 'ebcdic' is not one of utf-8, utf-16, utf-16-le, utf"),
        ("encoding", "8", "6: encoding: 8 is not one of utf-8, utf-16, utf-16-le, utf-16-be,"),
        ("null_strings", "NA", "6: null_strings: 'NA' is not a list; write it in brackets"),
        ("null_strings", "[NO]", "6: null_strings.0: NO is read by YAML as a boolean; quote it"),
        ("null_strings", "[NULL]", "6: null_strings.0: NULL is read by YAML as no value; quote it"),
        ("columns", "{}", "6: columns: {} is empty; write at least one"),
        ("columns", "[a]", "6: columns: ['a'] is not a mapping; write an indented 'name: value'"),
        ("columns", "{a: INT, A: INT}", "6: columns: {'a': 'INT', 'A': 'INT'} names one column"),
        ("columns", "{a: 5}", "6: columns.a: 5 is read by YAML as a number; quote it: '5'"),
        ("aggregates", "{}", "5: aggregates: {} is empty; write at least one"),
        ("aggregates", "{By-X: SELECT 1}", "5: aggregates.By-X: 'By-X' is not a name: a name has"),
        ("aggregates", "{a: [x]}", "5: aggregates.a: ['x'] is neither a query nor a mapping with"),
        ("aggregates", "{a: ''}", "5: aggregates.a.query: '' is empty; write some text"),
        (
            "timezone",
            "Mars",
            "6: timezone: 'Mars' is no time zone; write one such as UTC or",
        ),
        ("ready_by", "'6:00'", "6: ready_by: '6:00' is no time of day; write one such as '06:00'"),
        ("rollups", "[year]", "6: rollups.0: 'year' is not one of week, month"),
        ("rollups", "[week, week]", "6: rollups: ['week', 'week'] names a period twice; write"),
        (
            "checks",
            "{a: {condition: x, severity: eror}}",
            "6: checks.a.severity: 'eror' is not",
        ),
        ("checks", "{a: {condition: x, sevrity: warn}}", "6: checks.a.sevrity: unknown field; did"),
        ("wait", "{timeout_minutes: 5}", "6: wait: {'timeout_minutes': 5} needs one of marker,"),
        ("wait", "{marker: x/_SUCCESS}", "6: wait.marker: 'x/_SUCCESS' has no {date}; write it"),
        ("wait", "{marker: '{date}/*'}", "6: wait.marker: '{date}/*' has a *; name one file"),
        ("wait", "{files: 0}", "6: wait.files: 0 is too small; write 1 or more"),
        ("bigquery", "{dataset: a-b}", "6: bigquery.dataset: 'a-b' is not a name of BigQuery's:"),
        ("bigquery", "{dataset: a, aggregates: [b]}", "6: bigquery: {'dataset': 'a', 'aggregates'"),
        ("pattern", "x/{date}/{hour}", "4: pattern: 'x/{date}/{hour}' has an {hour}, but the"),
        (
            "output_format",
            "parket",
            "6: output_format: 'parket' is not one of parquet, csv, jsonl;",
        ),
        (
            "when_missing",
            "skipp",
            "6: when_missing: 'skipp' is not one of fail, skip,",
        ),
    ],
)
def test_a_mistake_is_reported_with_line_field_value_and_remedy(
    tmp_path: Path, field: str, value: str, problem: str
) -> None:
    assert problem_with(tmp_path, **{field: value}).startswith(problem)


@pytest.mark.parametrize(
    ("schedule", "is_refused"),
    [("@daily", False), ("30 6 * * *", False), ("@weekly", True), ("0 6 * * mon-fri", True)],
)
def test_rollups_need_a_run_on_every_day(tmp_path: Path, schedule: str, is_refused: bool) -> None:
    text = f"{valid_text()}schedule: '{schedule}'\nrollups: [week]\n"
    if is_refused:
        (problem,) = problems_of(write(tmp_path, text))
        assert "rollups: ['week'] would wait for days without a run" in problem
    else:
        load_dataset(write(tmp_path, text))


def test_a_missing_field_is_reported_with_an_example(tmp_path: Path) -> None:
    path = write(tmp_path, valid_text().replace("owner: data-platform\n", ""))
    assert problems_of(path) == [
        "flights.yaml:1: owner: is missing; add it, as in 'owner: data-platform'"
    ]


@pytest.mark.parametrize(
    ("kind", "option", "value", "kinds"),
    [
        ("text", "delimiter", "','", "csv"),
        ("json", "header", "true", "csv"),
        ("parquet", "quote", '""', "csv"),
        ("avro", "skip_lines", "0", "csv"),
        ("text", "columns", "{a: INTEGER}", "csv and json and parquet and avro"),
        ("json", "encoding", "utf-16", "csv and text"),
    ],
)
def test_options_are_refused_where_the_format_has_none(
    tmp_path: Path, kind: str, option: str, value: str, kinds: str
) -> None:
    problem = problem_with(tmp_path, format=kind, **{option: value})
    assert problem.startswith(f"7: {option}: ")
    assert problem.endswith(f" is for {kinds} files only; delete it, or change the format {kind}")


def test_all_mistakes_of_a_file_are_reported_in_the_order_of_their_lines(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "owner: NO\nowner: x\nretries:\nformat: cvs\naggregates:\n  a:\n    qery: SELECT 1\n",
        "Flights-1.yaml",
    )
    assert [":".join(problem.split(":")[1:3]) for problem in problems_of(path)] == [
        "1: name",
        "1: description",
        "1: owner",
        "1: start_date",
        "1: pattern",
        "2: owner",
        "3: retries",
        "4: format",
        "6: aggregates.a.query",
        "7: aggregates.a.qery",
    ]


def test_a_dataset_is_not_named_by_an_unsuitable_file(tmp_path: Path) -> None:
    (problem,) = problems_of(write(tmp_path, valid_text(), "Flights-1.yaml"))
    assert problem == (
        "Flights-1.yaml:1: name: the file is named 'Flights-1', and so would the dataset be; a "
        "name has small letters, digits and _ only, begins with a letter, and is at most 63 long"
    )


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "1: the file is empty; declare a dataset, beginning with its description"),
        (
            b"- a\n",
            "1: the file holds no fields; declare a dataset, beginning with its description",
        ),
        (b"a: b\nc: caf\xe9\n", "2: the byte 0xe9 is not UTF-8; save the file in that encoding"),
        (b"a: b: c\n", "1: not valid YAML: mapping values are not allowed here; check the indent"),
        (b"a: &b c\n", "1: not valid YAML: anchors (&name) and aliases (*name) are not supported"),
    ],
)
def test_a_file_that_holds_no_fields_is_one_problem(
    tmp_path: Path, content: bytes, problem: str
) -> None:
    path = tmp_path / "flights.yaml"
    path.write_bytes(content)
    assert [p.removeprefix("flights.yaml:")[: len(problem)] for p in problems_of(path)] == [problem]


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "missing.yaml"
    assert problems_of(missing) == ["missing.yaml: cannot be read: No such file or directory"]


def test_a_dataset_error_is_a_usage_error() -> None:
    assert isinstance(DatasetError(["x"]), UsageError)


mistakes = st.sampled_from(
    [("owner", "NO"), ("start_date", "x"), ("pattern", "/x"), ("retries", "-1"), ("formt", "x")]
)
fillers = st.lists(st.sampled_from(["", "# comment", "   "]), max_size=3)


@given(mistake=mistakes, data=st.data())
def test_the_line_of_a_mistake_is_that_of_its_field_wherever_it_stands(
    tmp_path_factory: pytest.TempPathFactory, mistake: tuple[str, str], data: st.DataObject
) -> None:
    field, value = mistake
    lines: list[str] = []
    for name, text in data.draw(st.permutations(list((VALID | {field: value}).items()))):
        lines += [*data.draw(fillers), f"{name}: {text}"]
        if name == field:
            expected = len(lines)
    path = write(tmp_path_factory.mktemp("datasets"), "\n".join(lines))
    (problem,) = problems_of(path)
    assert problem.startswith(f"flights.yaml:{expected}: {field}: ")


@given(st.text(max_size=40) | st.dictionaries(st.sampled_from([*VALID, "x"]), st.text()).map(str))
def test_whatever_a_file_holds_only_dataset_errors_come_of_it(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    path = tmp_path_factory.mktemp("datasets") / "flights.yaml"
    path.write_bytes(text.encode("utf-8", errors="replace"))
    assert problems_of(path)


def test_a_position_in_a_query_is_found_at_its_line(tmp_path: Path) -> None:
    query = "SELECT origin,\n  count(*) AS n\nFROM input"
    block = "\n  total:\n    query: |\n      " + query.replace("\n", "\n      ")
    path = write(tmp_path, valid_text(aggregates=block))
    assert load_dataset(path).aggregates["total"].query == query
    field = ("aggregates", "total", "query")
    lines = [line_of(path, field, query.index(word)) for word in ("SELECT", "count", "FROM")]
    assert (line_of(path, field), lines) == (7, [8, 9, 10])


def test_a_position_in_a_query_without_a_field_of_its_own_is_found_too(tmp_path: Path) -> None:
    path = write(tmp_path, valid_text())
    assert line_of(path, ("aggregates", "total", "query"), 7) == 5


def test_the_example_dataset_is_valid() -> None:
    dataset = load_dataset(FLIGHTS)
    assert {"by_origin", "by_carrier"} < set(dataset.aggregates)
    assert dataset.file_format.null_strings == ("NA",)


def test_the_published_schema_is_that_of_the_model() -> None:
    published = (REPOSITORY / "docs/dataset.schema.json").read_text(encoding="utf-8")
    assert published == render_schema(), (
        "publish it: python -m beam_jobs.check_datasets --write_schema docs/dataset.schema.json"
    )


def test_the_schema_describes_every_field_and_neither_the_name_nor_null() -> None:
    properties = Dataset.model_json_schema()["properties"]
    assert set(properties) == set(Dataset.model_fields) - {"name"}
    assert all(described.get("description") for described in properties.values())
    assert "null" not in re.sub("null_strings|null_fraction", "", render_schema())


def test_the_guide_lists_every_field() -> None:
    guide = (REPOSITORY / "docs/datasets.md").read_text(encoding="utf-8")
    fields = guide.partition("## Fields")[2].partition("\n## ")[0]
    listed = [line.split("`")[1] for line in fields.splitlines() if line.startswith("| `")]
    assert listed == [name for name in Dataset.model_fields if name != "name"]


def test_importing_the_model_imports_nothing_heavy() -> None:
    code = (
        "import sys; before = set(sys.modules); import beam_jobs.datasets.dataset; "
        "heavy = ('airflow', 'apache_beam', 'duckdb', 'google', 'pyarrow', 'numpy', 'pandas'); "
        "sys.exit(', '.join(m for m in set(sys.modules) - before if m.split('.')[0] in heavy) "
        "or None)"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
