"""The jobs, in SQLite: what was submitted, the states, messages and metrics of each."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from local_cloud.dataflow.events import Importance
from local_cloud.dataflow.names import now

# In their order, which is not that of the numbers that the API gives them.
IMPORTANCES: tuple[Importance, ...] = get_args(Importance)

TERMINAL_STATES = frozenset(
    f"JOB_STATE_{word}" for word in ("DONE", "FAILED", "CANCELLED", "UPDATED", "DRAINED")
)
_ENDED = ", ".join(f"'{state}'" for state in sorted(TERMINAL_STATES))
_ACTIVE = f"state NOT IN ({_ENDED})"
# Running jobs first, by their creation, then the others by their end: the newest first of each.
_ORDER = (_ACTIVE, f"CASE WHEN {_ACTIVE} THEN create_time ELSE state_time END", "id")

_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, project TEXT NOT NULL, location TEXT NOT NULL, name TEXT NOT NULL,
    client_request_id TEXT NOT NULL, state TEXT NOT NULL, state_time TEXT NOT NULL,
    create_time TEXT NOT NULL, start_time TEXT NOT NULL, requested_state TEXT NOT NULL,
    started INTEGER NOT NULL, job BLOB NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS active_names ON jobs (project, location, name) WHERE {_ACTIVE};
CREATE TABLE IF NOT EXISTS messages (
    number INTEGER PRIMARY KEY, job_id TEXT NOT NULL, time TEXT NOT NULL,
    importance INTEGER NOT NULL, text TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS messages_of_job ON messages (job_id, time, number);
CREATE TABLE IF NOT EXISTS worker_counts (
    number INTEGER PRIMARY KEY, job_id TEXT NOT NULL, time TEXT NOT NULL, workers INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS reports (
    job_id TEXT NOT NULL, kind TEXT NOT NULL, time TEXT NOT NULL, content TEXT NOT NULL,
    PRIMARY KEY (job_id, kind)
);
"""
_COLUMNS = (
    "id, project, location, name, client_request_id, state, state_time, create_time, start_time, "
    "requested_state, started, job"
)


class NameTakenError(Exception):
    """An active job of the region has the name already."""


@dataclass(frozen=True)
class StoredJob:
    """A job as it is now.

    Attributes:
        id: Its id.
        project: Its project.
        location: Its region.
        name: Its name.
        client_request_id: What its client calls the request that created it, if anything.
        state: Its state, such as ``JOB_STATE_PENDING``.
        state_time: Since when it is in this state.
        create_time: When it was created.
        start_time: When it became pending; empty before.
        requested_state: What a client asked for last, if it did.
        started: Whether a process has been started for it.
        job: The serialized ``Job`` that was submitted.
    """

    id: str
    project: str
    location: str
    name: str
    client_request_id: str
    state: str
    state_time: str
    create_time: str
    start_time: str
    requested_state: str
    started: bool
    job: bytes

    @property
    def is_terminal(self) -> bool:
        """Whether the job has ended."""
        return self.state in TERMINAL_STATES


@dataclass(frozen=True)
class Listing:
    """Which jobs to list; what is empty holds for all of them.

    Attributes:
        project: Their project.
        location: Their region.
        name: Their name.
        active: Whether only those that run, or only those that have ended.
    """

    project: str = ""
    location: str = ""
    name: str = ""
    active: bool | None = None


@dataclass(frozen=True)
class StoredMessage:
    """A message of a job; `number` grows with each message of any job."""

    number: int
    time: str
    importance: Importance
    text: str


@dataclass(frozen=True)
class MessageRange:
    """Which messages of a job to list: from `start` on, before `end`, after `after`."""

    start: str = ""
    end: str = "~"
    importance: Importance = IMPORTANCES[0]
    after: tuple[str, int] = ("", 0)


class Store:
    """The jobs of one service; safe to use from many threads."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._connection.executescript(_SCHEMA)

    def close(self) -> None:
        """Closes the file."""
        with self._lock:
            self._connection.close()

    def insert(self, job: StoredJob) -> None:
        """Adds a job.

        Raises:
            NameTakenError: An active one of its region has its name.
        """
        marks = ", ".join("?" * len(_COLUMNS.split(",")))
        values = [getattr(job, column) for column in _COLUMNS.split(", ")]
        try:
            self._execute(f"INSERT INTO jobs ({_COLUMNS}) VALUES ({marks})", values)  # noqa: S608
        except sqlite3.IntegrityError as error:
            raise NameTakenError(job.name) from error

    def replace_job(self, job_id: str, job: bytes) -> None:
        """Puts another ``Job``, for which no process was started yet, in a job's place."""
        self._execute("UPDATE jobs SET job = ?, started = 0 WHERE id = ?", [job, job_id])

    def delete(self, job_id: str) -> None:
        """Removes a job and all that is known of it."""
        with self._lock:
            self._execute("DELETE FROM jobs WHERE id = ?", [job_id])
            for table in ("messages", "worker_counts", "reports"):
                self._execute(f"DELETE FROM {table} WHERE job_id = ?", [job_id])  # noqa: S608

    def get(self, job_id: str) -> StoredJob | None:
        """The job of an id."""
        return self._job("id = ?", [job_id])

    def active_of_name(self, project: str, location: str, name: str) -> StoredJob | None:
        """The active job of a name."""
        where = f"project = ? AND location = ? AND name = ? AND {_ACTIVE}"
        return self._job(where, [project, location, name])

    def of_request(self, project: str, location: str, name: str, request: str) -> StoredJob | None:
        """The job, active or not, that a client's request created."""
        where = "project = ? AND location = ? AND name = ? AND client_request_id = ?"
        return self._job(where, [project, location, name, request])

    def move(self, job_id: str, state: str) -> bool:
        """Puts a job that has not ended into a state.

        Returns:
            Whether it was in another state before, from which it can go there.
        """
        time = now()
        # What is being cancelled does not run again, though its process may still say so.
        backward = "" if state in TERMINAL_STATES else " AND state != 'JOB_STATE_CANCELLING'"
        where = f"id = ? AND state != ? AND {_ACTIVE}{backward}"
        cursor = self._execute(
            "UPDATE jobs SET state = ?, state_time = ?, "  # noqa: S608
            "start_time = CASE WHEN start_time = '' AND ? THEN ? ELSE start_time END "
            f"WHERE {where}",
            [state, time, state == "JOB_STATE_PENDING", time, job_id, state],
        )
        return cursor.rowcount > 0

    def set_started(self, job_id: str) -> None:
        """Notes that a process was started for a job."""
        self._execute("UPDATE jobs SET started = 1 WHERE id = ?", [job_id])

    def set_requested_state(self, job_id: str, state: str) -> None:
        """Notes what a client asked for."""
        self._execute("UPDATE jobs SET requested_state = ? WHERE id = ?", [state, job_id])

    def list_jobs(
        self, listing: Listing, limit: int, after: Sequence[object] | None = None
    ) -> list[tuple[StoredJob, tuple[object, ...]]]:
        """Jobs in the order of the API, each with what `after` takes to list those behind it."""
        conditions, values = ["1"], list[object]()
        for column in ("project", "location", "name"):
            if value := getattr(listing, column):
                conditions.append(f"{column} = ?")
                values.append(value)
        if listing.active is not None:
            conditions.append(_ACTIVE if listing.active else f"NOT {_ACTIVE}")
        if after is not None:
            conditions.append(f"({', '.join(_ORDER)}) < (?, ?, ?)")
            values.extend(after)
        rows = self._execute(
            f"SELECT {_COLUMNS}, {', '.join(_ORDER)} FROM jobs "  # noqa: S608
            f"WHERE {' AND '.join(conditions)} "
            f"ORDER BY {', '.join(f'{part} DESC' for part in _ORDER)} LIMIT ?",
            [*values, limit],
        ).fetchall()
        return [(_stored(row[:-3]), tuple(row[-3:])) for row in rows]

    def active_jobs(self) -> list[StoredJob]:
        """All jobs that have not ended, oldest first."""
        rows = self._execute(
            f"SELECT {_COLUMNS} FROM jobs WHERE {_ACTIVE} ORDER BY create_time",  # noqa: S608
            [],
        )
        return [_stored(row) for row in rows.fetchall()]

    def add_message(self, job_id: str, importance: Importance, text: str, time: str = "") -> None:
        """Adds a message to a job that is there."""
        self._execute(
            "INSERT INTO messages (job_id, time, importance, text) SELECT id, ?, ?, ? FROM jobs "
            "WHERE id = ?",
            [time or now(), IMPORTANCES.index(importance), text, job_id],
        )

    def messages(self, job_id: str, within: MessageRange, limit: int = -1) -> list[StoredMessage]:
        """The messages of a job, oldest first."""
        rows = self._execute(
            "SELECT number, time, importance, text FROM messages WHERE job_id = ? AND time >= ? "
            "AND time < ? AND importance >= ? AND (time, number) > (?, ?) "
            "ORDER BY time, number LIMIT ?",
            [
                job_id,
                within.start,
                within.end,
                IMPORTANCES.index(within.importance),
                *within.after,
                limit,
            ],
        )
        return [
            StoredMessage(number, time, IMPORTANCES[rank], text)
            for number, time, rank, text in rows.fetchall()
        ]

    def add_worker_count(self, job_id: str, workers: int) -> None:
        """Notes how many workers a job has now, if that is another number than before."""
        self._execute(
            "INSERT INTO worker_counts (job_id, time, workers) SELECT id, ?, ? FROM jobs WHERE "
            "id = ? AND ? != coalesce((SELECT workers FROM worker_counts WHERE job_id = jobs.id "
            "ORDER BY number DESC LIMIT 1), 0)",
            [now(), workers, job_id, workers],
        )

    def worker_counts(self, job_id: str, within: MessageRange) -> list[tuple[str, int]]:
        """When a job had how many workers, oldest first."""
        rows = self._execute(
            "SELECT time, workers FROM worker_counts WHERE job_id = ? AND time >= ? AND time < ? "
            "ORDER BY number",
            [job_id, within.start, within.end],
        )
        return [(str(time), int(workers)) for time, workers in rows.fetchall()]

    def set_report(self, job_id: str, kind: str, content: str) -> None:
        """Replaces what a job's process reported last of a kind, such as its metrics."""
        self._execute(
            "INSERT OR REPLACE INTO reports (job_id, kind, time, content) "
            "SELECT id, ?, ?, ? FROM jobs WHERE id = ?",
            [kind, now(), content, job_id],
        )

    def report(self, job_id: str, kind: str) -> tuple[str, str] | None:
        """What a job's process reported last of a kind, after the time when it did."""
        row = self._execute(
            "SELECT time, content FROM reports WHERE job_id = ? AND kind = ?", [job_id, kind]
        ).fetchone()
        return (str(row[0]), str(row[1])) if row else None

    def _job(self, where: str, values: Sequence[object]) -> StoredJob | None:
        row = self._execute(f"SELECT {_COLUMNS} FROM jobs WHERE {where}", values)  # noqa: S608
        found = row.fetchone()
        return _stored(found) if found else None

    def _execute(self, statement: str, values: Iterable[object]) -> sqlite3.Cursor:
        with self._lock:
            return self._connection.execute(statement, list(values))


def _stored(row: Sequence[object]) -> StoredJob:
    values = dict(zip(_COLUMNS.split(", "), row, strict=True))
    values["started"] = bool(values["started"])
    return StoredJob(**values)  # type: ignore[arg-type]
