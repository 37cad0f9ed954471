"""What the service remembers: SQLite for names, jobs and which files hold a table's rows.

The rows are Parquet files that are written once and never changed. A table's content is the list of
its files, so that a load becomes visible, whole, with the transaction that changes this list.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from local_cloud.bigquery.naming import TableId

Json = dict[str, Any]

_TABLES = """
CREATE TABLE IF NOT EXISTS datasets (project, dataset, resource, PRIMARY KEY (project, dataset));
CREATE TABLE IF NOT EXISTS tables (
    project, dataset, name, resource, changed INTEGER, PRIMARY KEY (project, dataset, name));
CREATE TABLE IF NOT EXISTS files (
    id INTEGER PRIMARY KEY AUTOINCREMENT, project, dataset, name, partition, path, rows INTEGER,
    bytes INTEGER, changed INTEGER);
CREATE INDEX IF NOT EXISTS files_of_table ON files (project, dataset, name, partition);
CREATE TABLE IF NOT EXISTS jobs (
    number INTEGER PRIMARY KEY AUTOINCREMENT, project, id, state, resource, UNIQUE (project, id));
"""
_TABLE = "project = ? AND dataset = ? AND name = ?"


@dataclass(frozen=True)
class RowFile:
    """A Parquet file of rows of one partition.

    Attributes:
        path: Where it is.
        rows: How many it has.
        size: In bytes.
        partition: The partition's name; empty in a table that has none.
        changed: When it became part of the table, in milliseconds since 1970.
    """

    path: Path
    rows: int
    size: int
    partition: str = ""
    changed: int = 0


def now_ms() -> int:
    """The time, as the API has it."""
    return time.time_ns() // 1_000_000


class Store:
    """Datasets, tables, their files, and jobs; safe to use from many threads."""

    def __init__(self, directory: Path) -> None:
        self._rows = directory / "rows"
        self._scratch = directory / "scratch"
        shutil.rmtree(self._scratch, ignore_errors=True)
        for folder in (self._rows, self._scratch):
            folder.mkdir(parents=True, exist_ok=True)
        self._lock = threading.RLock()
        self._readers = 0
        self._superseded: list[Path] = []
        self._db = sqlite3.connect(
            directory / "bigquery.sqlite", check_same_thread=False, isolation_level=None
        )
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.executescript(_TABLES)
        known = {path for (path,) in self._db.execute("SELECT path FROM files")}
        for path in self._rows.iterdir():
            if path.name not in known:
                path.unlink()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything done inside becomes visible at once, or not at all; may be nested."""
        with self._lock:
            if self._db.in_transaction:
                yield
                return
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")
        self._remove_superseded()

    def new_file(self) -> Path:
        """Where rows can be written; removed at the next start unless a table takes it."""
        return self._rows / f"{uuid4().hex}.parquet"

    @contextlib.contextmanager
    def scratch(self) -> Iterator[Path]:
        """A folder that is gone afterwards."""
        folder = self._scratch / uuid4().hex
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def dataset(self, project: str, dataset: str) -> Json | None:
        """A dataset's resource."""
        return self._one(
            "SELECT resource FROM datasets WHERE project = ? AND dataset = ?", (project, dataset)
        )

    def datasets(self, project: str) -> list[Json]:
        """The datasets of a project, in order of their names."""
        return self._all(
            "SELECT resource FROM datasets WHERE project = ? ORDER BY dataset", (project,)
        )

    def put_dataset(self, resource: Json) -> None:
        """Creates or replaces a dataset."""
        name = resource["datasetReference"]
        self._run(
            "INSERT OR REPLACE INTO datasets VALUES (?, ?, ?)",
            (name["projectId"], name["datasetId"], json.dumps(resource)),
        )

    def delete_dataset(self, project: str, dataset: str) -> None:
        """Removes a dataset and its tables."""
        with self.transaction():
            for table in self.tables(project, dataset):
                self.delete_table(TableId(project, dataset, table["tableReference"]["tableId"]))
            self._run("DELETE FROM datasets WHERE project = ? AND dataset = ?", (project, dataset))

    def table(self, name: TableId) -> Json | None:
        """A table's resource."""
        return self._one(f"SELECT resource FROM tables WHERE {_TABLE}", _key(name))  # noqa: S608

    def tables(self, project: str, dataset: str) -> list[Json]:
        """The tables of a dataset, in order of their names."""
        sql = "SELECT resource FROM tables WHERE project = ? AND dataset = ? ORDER BY name"
        return self._all(sql, (project, dataset))

    def put_table(self, name: TableId, resource: Json) -> None:
        """Creates a table or replaces its resource."""
        self._run(
            "INSERT OR REPLACE INTO tables VALUES (?, ?, ?, ?, ?)",
            (*_key(name), json.dumps(resource), now_ms()),
        )

    def changed(self, name: TableId) -> int:
        """When a table was last changed, in milliseconds since 1970."""
        with self._lock:
            sql = f"SELECT changed FROM tables WHERE {_TABLE}"  # noqa: S608
            return int(self._db.execute(sql, _key(name)).fetchone()[0])

    def delete_table(self, name: TableId) -> None:
        """Removes a table with its rows."""
        with self.transaction():
            self.remove_files(name, None)
            self._run(f"DELETE FROM tables WHERE {_TABLE}", _key(name))  # noqa: S608

    def files(self, name: TableId, partition: str | None = None) -> list[RowFile]:
        """The files of a table or of one of its partitions, in the order they were added."""
        sql = f"SELECT path, rows, bytes, partition, changed FROM files WHERE {_TABLE}"  # noqa: S608
        with self._lock:
            rows = self._db.execute(f"{sql} ORDER BY id", _key(name)).fetchall()
        return [
            RowFile(self._rows / path, *rest)
            for path, *rest in rows
            if partition in (None, rest[2])
        ]

    def add_files(self, name: TableId, files: Sequence[RowFile]) -> None:
        """Adds rows to a table."""
        with self.transaction():
            for file in files:
                self._run(
                    "INSERT INTO files (project, dataset, name, partition, path, rows, bytes, "
                    "changed) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    (*_key(name), file.partition, file.path.name, file.rows, file.size, now_ms()),
                )
            sql = f"UPDATE tables SET changed = max(?, changed + 1) WHERE {_TABLE}"  # noqa: S608
            self._run(sql, (now_ms(), *_key(name)))

    def remove_files(self, name: TableId, partition: str | None) -> None:
        """Removes the rows of a table or of one of its partitions."""
        with self.transaction():
            for file in self.files(name, partition):
                self._run("DELETE FROM files WHERE path = ?", (file.path.name,))
                self._superseded.append(file.path)

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """No file that a table had when this began is removed before it ends."""
        with self._lock:
            self._readers += 1
        try:
            yield
        finally:
            with self._lock:
                self._readers -= 1
            self._remove_superseded()

    def _remove_superseded(self) -> None:
        with self._lock:
            if self._readers or self._db.in_transaction:
                return
            for path in self._superseded:
                sql = "SELECT count(*) FROM files WHERE path = ?"  # 1 after a rollback
                if not self._db.execute(sql, (path.name,)).fetchone()[0]:
                    path.unlink(missing_ok=True)
            self._superseded.clear()

    def insert_job(self, project: str, job_id: str, resource: Json) -> bool:
        """Remembers a new job; says whether its id was free."""
        sql = "INSERT OR IGNORE INTO jobs (project, id, state, resource) VALUES (?, ?, ?, ?)"
        state = resource["status"]["state"]
        with self._lock:
            found = self._db.execute(sql, (project, job_id, state, json.dumps(resource)))
            return found.rowcount == 1

    def job(self, project: str, job_id: str) -> Json | None:
        """A job's resource."""
        return self._one(
            "SELECT resource FROM jobs WHERE project = ? AND id = ?", (project, job_id)
        )

    def put_job(self, resource: Json) -> None:
        """Replaces the resource of a job."""
        name = resource["jobReference"]
        self._run(
            "UPDATE jobs SET state = ?, resource = ? WHERE project = ? AND id = ?",
            (
                resource["status"]["state"],
                json.dumps(resource),
                name["projectId"],
                name["jobId"],
            ),
        )

    def jobs(self, project: str) -> list[Json]:
        """The jobs of a project, the newest first."""
        return self._all(
            "SELECT resource FROM jobs WHERE project = ? ORDER BY number DESC", (project,)
        )

    def unfinished_jobs(self) -> list[Json]:
        """The jobs of all projects that are not done, the oldest first."""
        return self._all("SELECT resource FROM jobs WHERE state <> 'DONE' ORDER BY number", ())

    def _run(self, sql: str, values: Sequence[object]) -> None:
        with self._lock:
            self._db.execute(sql, values)

    def _all(self, sql: str, values: Sequence[object]) -> list[Json]:
        with self._lock:
            return [json.loads(resource) for (resource,) in self._db.execute(sql, values)]

    def _one(self, sql: str, values: Sequence[object]) -> Json | None:
        return next(iter(self._all(sql, values)), None)


def _key(name: TableId) -> tuple[str, str, str]:
    return name.project, name.dataset, name.table
