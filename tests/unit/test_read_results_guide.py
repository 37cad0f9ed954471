"""The snippets of docs/read-results.md do what the guide says."""

from __future__ import annotations

import re
from pathlib import Path

import duckdb
import pytest

from beam_jobs import partitions
from beam_jobs.publishing import manifest
from tests.unit.test_show import publish_rows

GUIDE = (Path(__file__).parents[2] / "docs" / "read-results.md").read_text(encoding="utf-8")
ROWS = [("2013-01-01", "EWR", 305), ("2013-01-02", "JFK", 321)]


def snippets(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", GUIDE, re.DOTALL)


@pytest.fixture(autouse=True)
def _january(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two days below data/, of each of which an older version is kept."""
    monkeypatch.chdir(tmp_path)
    for day, origin, flights in ROWS:
        for run_id, more in (("r1", 1000), ("r2", 0)):
            query = f"SELECT '{origin}' AS origin, {flights + more} AS flights"
            publish_rows(day, query, run_id=run_id, storage="data")


def test_duckdb_reads_the_current_versions() -> None:
    (sql,) = snippets("sql")
    found = duckdb.connect().execute(sql).fetchall()
    assert [(str(day), origin, flights) for day, origin, flights in found] == ROWS


def test_pandas_reads_the_current_versions() -> None:
    pytest.importorskip("pandas")
    found: dict[str, object] = {}
    exec(snippets("python")[0], found)  # noqa: S102
    january = found["january"]
    assert [tuple(row) for row in january.itertuples(index=False)] == ROWS  # type: ignore[attr-defined]


def test_the_table_for_bigquery_has_the_files_of_the_current_versions(
    capsys: pytest.CaptureFixture[str],
) -> None:
    exec(snippets("python")[1].replace("gs://my-bucket", "data"), {})  # noqa: S102
    said = capsys.readouterr().out
    assert re.findall(r"date=([^/]*)/runs/(r\d)/by_origin.parquet'", said) == [
        ("2013-01-01", "r2"),
        ("2013-01-02", "r2"),
    ]


def test_the_guide_explains_every_field_of_the_manifest() -> None:
    for model in (manifest.Manifest, manifest.Version, manifest.PublishedAggregate):
        for name in model.model_fields:
            assert re.search(rf"`\.?{name}(\[\])?`", GUIDE), f"{name} is not explained"


def test_the_listing_is_that_of_the_command(capfd: pytest.CaptureFixture[str]) -> None:
    partitions.main(["list", "flights", "--storage", "data"])
    header = re.split(" {2,}", capfd.readouterr().out.splitlines()[0])
    shown = next(line for line in GUIDE.splitlines() if line.startswith("partition   version"))
    assert re.split(" {2,}", shown) == header
