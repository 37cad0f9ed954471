"""States come back from Parquet as they were written, and say what they are."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_jobs.engine import states, states_files
from beam_jobs.engine.session import open_session
from beam_jobs.engine.states_files import fingerprint, read_origin, read_states, write_states
from beam_jobs.errors import InputError
from beam_jobs.sql import plan_query
from beam_jobs.version import VERSION

REPOSITORY = Path(__file__).parents[2]
VALUES = {
    "HUGEINT": "170141183460469231731687303715884105727",
    "UHUGEINT": "340282366920938463463374607431768211455",
    "BIGNUM": "1" + "0" * 50,
    "UUID": "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
    "TIME": "10:00:00.000001",
    "TIME_NS": "10:00:00.000000001",
    "TIME WITH TIME ZONE": "10:00:00+02",
    "DECIMAL(38,3)": "12345678901234567890123456789012345.678",
    "BIT": "10101",
    "BLOB": "\\x00a",
    "TIMESTAMP_S": "2020-01-01",
    "TIMESTAMP_MS": "2020-01-01 00:00:00.001",
    "TIMESTAMP_NS": "2020-01-01 00:00:00.000000001",
    "TIMESTAMP WITH TIME ZONE": "2020-01-01 10:00:00+02",
    "DATE": "infinity",
    "STRUCT(a INTEGER, b VARCHAR[])": "{'a': 1, 'b': ['x', NULL]}",
    "MAP(VARCHAR, INTEGER)": "{a=1}",
    "ENUM('b', 'a')": "a",
    "JSON": '{"a": 1}',
    "BOOLEAN": "true",
    "DOUBLE": "nan",
    "FLOAT": "0.1",
}


@pytest.mark.parametrize("kind", VALUES)
def test_states_of_every_type_come_back_as_they_were(kind: str, tmp_path: Path) -> None:
    plan = plan_query(
        "SELECT c, any_value(c) AS a, list(c) AS l, max(c) AS m, count(DISTINCT c) AS d, "
        "mode(c) AS o FROM input GROUP BY c",
        {"c": kind},
    )
    assert states_files.problem(plan) is None
    path = str(tmp_path / "s.parquet")
    with open_session() as session:
        session.execute(
            f"CREATE TABLE input AS SELECT CAST($${VALUES[kind]}$$ AS {kind}) AS c "
            "UNION ALL SELECT NULL"
        )
        for number in range(len(plan.relations)):
            table = states.partial_states(session, plan, number, "file", 0)
            write_states(path, plan, number, [table, table])
            found = list(read_states(path))
            assert [read.schema for read in found] == 2 * [table.schema]
            together = states.combine(plan, number, [table, table])
            # As text, as NaN equals itself there.
            assert str(states.combine(plan, number, found)) == str(together)
            assert states_files.schema(plan, number) == table.schema


@pytest.mark.parametrize("kind", ["INTERVAL", "INTEGER[3]", "STRUCT(a INTERVAL)"])
def test_types_that_parquet_lacks_are_told_before_anything_is_read(kind: str) -> None:
    plan = plan_query("SELECT any_value(c) AS a FROM input", {"c": kind})
    assert "Parquet has no type" in str(states_files.problem(plan))


def test_a_file_of_states_says_what_made_it(tmp_path: Path) -> None:
    plan = plan_query("SELECT count(DISTINCT c) AS n FROM input", {"c": "BIGINT"})
    path = str(tmp_path / "s.parquet")
    write_states(path, plan, 1, [])
    found = read_origin(path)
    assert found.fingerprint == fingerprint(plan)
    assert (found.duckdb, found.tallyflow) == (duckdb.__version__, VERSION)
    assert (found.relation, found.relations) == (1, 2)


def test_another_file_is_no_file_of_states(tmp_path: Path) -> None:
    path = tmp_path / "s.parquet"
    pq.write_table(pa.table({"x": [1]}), path)
    with pytest.raises(InputError, match="is no file of states"):
        read_origin(str(path))
    path.write_text("k,v\n")
    with pytest.raises(InputError, match="s.parquet: cannot be read"):
        read_origin(str(path))


COLUMNS = {"k": "VARCHAR", "v": "BIGINT", "other": "DATE"}
QUERY = "SELECT k, sum(v) AS s FROM input WHERE v > 1 GROUP BY k"


def fingerprint_of(query: str, **changed: str) -> str:
    return fingerprint(plan_query(query, {**COLUMNS, **changed}))


def test_the_fingerprint_is_that_of_the_meaning() -> None:
    same = "select  K, /* all */ SUM(v) as s\nFROM input WHERE (v > 1) GROUP BY k -- done"
    assert fingerprint_of(same.replace("K", "k")) == fingerprint_of(QUERY)
    assert fingerprint_of(QUERY, other="VARCHAR") == fingerprint_of(QUERY)


@pytest.mark.parametrize(
    ("query", "columns"),
    [
        (QUERY.replace("> 1", "> 2"), {}),
        (QUERY.replace("sum", "max"), {}),
        (QUERY.replace("AS s", "AS total"), {}),
        (QUERY, {"v": "INTEGER"}),
    ],
)
def test_another_query_or_type_has_another_fingerprint(query: str, columns: dict[str, str]) -> None:
    assert fingerprint_of(query, **columns) != fingerprint_of(QUERY)


def test_the_version_is_that_of_the_package() -> None:
    assert f'version = "{VERSION}"' in (REPOSITORY / "pyproject.toml").read_text()
