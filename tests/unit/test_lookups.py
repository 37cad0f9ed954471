"""Lookup tables are read as files are, and filled into a session once."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from beam_jobs.engine import lookups, states
from beam_jobs.engine.lookups import LookupTables, find_lookups
from beam_jobs.engine.session import open_session
from beam_jobs.errors import InputError, UsageError
from beam_jobs.sql import plan_query


@pytest.fixture
def names(tmp_path: Path) -> Path:
    path = tmp_path / "names.csv"
    path.write_text("id,name\n1,one\n2,two\n2,zwei\n")
    return path


def test_each_block_of_a_session_sees_the_table_once(names: Path) -> None:
    found = find_lookups({"names": str(names)})
    plan = plan_query(
        "SELECT name, sum(v) AS s FROM input JOIN names USING (id) GROUP BY name",
        {"id": "BIGINT", "v": "BIGINT"},
        {lookup.name: lookup.columns for lookup in found},
    )
    tables = LookupTables(found)
    parts = []
    with open_session() as session:
        for position in range(3):
            session.register("input", pa.table({"id": [1, 2], "v": [10, position]}))
            tables.fill(session)
            parts.append(states.partial_states(session, plan, 0, "file", position))
    with states.finalized(plan, [[states.combine(plan, 0, parts)]]) as session:
        rows = session.execute("FROM result").fetchall()
    assert rows == [("one", 30), ("two", 3), ("zwei", 3)]


def test_a_lookup_of_several_blocks_names_the_line_of_a_reject(tmp_path: Path) -> None:
    path = tmp_path / "big.csv"
    lines = [f"{number},{'x' * 90}\n" for number in range(200_000)]
    lines[190_000] = "1,2,3\n"
    path.write_text("id,name\n" + "".join(lines))
    with pytest.raises(InputError, match=r"lookup big: .*big.csv:190002: "):
        find_lookups({"big": str(path)})


def test_a_lookup_that_is_too_large_in_memory_is_refused(
    names: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookups, "_MAX_TABLE_BYTES", 10)
    with pytest.raises(InputError, match="lookup names: .* takes more than 10 bytes in memory"):
        find_lookups({"names": str(names)})


def test_a_lookup_that_changes_during_the_run_is_an_error(names: Path) -> None:
    found = find_lookups({"names": str(names)})
    names.write_text("id,name\n1,one\n")
    with pytest.raises(InputError, match="names.csv: was changed while the job ran"):
        LookupTables(found)


def test_an_empty_file_is_no_lookup(names: Path) -> None:
    names.write_text("")
    with pytest.raises(UsageError, match="names.csv: has no columns"):
        find_lookups({"names": str(names)})
