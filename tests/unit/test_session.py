"""A session for a user's SQL reaches nothing but what it was given."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from beam_jobs.engine.session import open_session, quote_name, quote_text


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret.csv"
    path.write_text("a\nsecret\n")
    return path


@pytest.mark.parametrize(
    "statement",
    [
        "FROM read_csv('{secret}')",
        "FROM '{secret}'",
        "FROM read_text('{secret}')",
        "FROM read_blob('{secret}')",
        "FROM read_csv('{folder}/*.csv')",
        "FROM glob('{folder}/*')",
        "FROM read_csv('{folder}/scratch/../secret.csv')",
        "FROM read_csv('{folder}/scratch/link.csv')",
        "FROM read_csv('https://localhost/x.csv')",
        "COPY (SELECT 1) TO '{folder}/out.csv'",
        "COPY (SELECT 1) TO '{secret}'",
        "CREATE TABLE t(a VARCHAR); COPY t FROM '{secret}'",
        "EXPORT DATABASE '{folder}/out'",
        "ATTACH '{folder}/out.db'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "LOAD '{folder}/x.duckdb_extension'",
        "SET enable_external_access = true",
        "SET allowed_paths = ['{secret}']",
        "SET allowed_directories = ['{folder}']",
        "SET threads = 8",
        "SET memory_limit = '100GB'",
        "SET temp_directory = '{folder}'",
        "SET lock_configuration = false",
        "RESET lock_configuration",
        "RESET memory_limit",
        "PRAGMA enable_profiling = 'json'",
        "SET autoload_known_extensions = true",
    ],
)
def test_the_lock_refuses(statement: str, secret: Path) -> None:
    scratch = secret.parent / "scratch"
    scratch.mkdir()
    (scratch / "link.csv").symlink_to(secret)
    before = sorted(secret.parent.rglob("*"))
    session = open_session(str(scratch))
    with pytest.raises(duckdb.Error):
        session.execute(statement.format(secret=secret, folder=secret.parent)).fetchall()
    assert sorted(secret.parent.rglob("*")) == before
    assert secret.read_text() == "a\nsecret\n"


def test_variables_of_python_are_no_tables() -> None:
    hidden = duckdb.connect(":memory:").sql("SELECT 42 AS answer").to_arrow_table()
    with pytest.raises(duckdb.Error, match="hidden"):
        open_session().execute("FROM hidden")
    assert hidden.num_rows == 1


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("threads", "1"),
        ("TimeZone", "UTC"),
        ("enable_external_access", "false"),
        ("lock_configuration", "true"),
        ("autoinstall_known_extensions", "false"),
        ("autoload_known_extensions", "false"),
        ("arrow_lossless_conversion", "true"),
        ("errors_as_json", "true"),
    ],
)
def test_a_session_is_set(setting: str, value: str) -> None:
    (found,) = open_session().execute("SELECT current_setting(?)", [setting]).fetchall()
    assert str(found[0]).lower() == value.lower()


def test_a_session_spills_to_its_scratch_folder_and_nowhere_without_one(tmp_path: Path) -> None:
    for scratch in (str(tmp_path), None):
        found = open_session(scratch=scratch).execute("SELECT current_setting('temp_directory')")
        assert found.fetchall() == [(scratch or "",)]


@pytest.mark.parametrize("text", ["", "it's", '"', "''", "a\nb", "é", "x\\"])
def test_texts_and_names_are_quoted_for_sql(text: str) -> None:
    name = text or "x"
    relation = duckdb.connect(":memory:").sql(f"SELECT {quote_text(text)} AS {quote_name(name)}")
    assert relation.fetchall() == [(text,)]
    assert relation.columns == [name]
