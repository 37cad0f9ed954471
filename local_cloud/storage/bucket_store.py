"""Buckets: their rows, and what may be done to them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

from local_cloud.storage import errors
from local_cloud.storage.contents import Contents
from local_cloud.storage.database import Database, now
from local_cloud.storage.names import check_bucket_name
from local_cloud.storage.preconditions import Preconditions
from local_cloud.storage.records import Bucket
from local_cloud.storage.resources import bucket_fields


class BucketStore:
    """The buckets of all projects."""

    def __init__(self, database: Database, contents: Contents, projects: set[str]) -> None:
        self._database = database
        self._contents = contents
        self._projects = projects

    def check_project(self, project: str) -> None:
        """Fails on a project that does not exist.

        Raises:
            StorageError: It does not.
        """
        if project not in self._projects:
            raise errors.invalid(f"Unknown project id: {project}")

    def create(self, name: str, project: str, fields: Mapping[str, Any]) -> Bucket:
        """Creates a bucket.

        Raises:
            StorageError: The project does not exist, or the bucket does.
        """
        self.check_project(project)
        time = now()
        with self._database.changing() as connection:
            if connection.execute("SELECT 1 FROM buckets WHERE name = ?", (name,)).fetchone():
                message = (
                    "Your previous request to create the named bucket succeeded and you already "
                    "own it."
                )
                raise errors.StorageError(409, message, xml_code="BucketAlreadyOwnedByYou")
            connection.execute(
                "INSERT INTO buckets VALUES (?, ?, 1, ?, ?, ?)",
                (name, project, time, time, json.dumps(fields)),
            )
        return self.get(name)

    def ensure(self, name: str, project: str) -> None:
        """Creates a bucket if it does not exist.

        Raises:
            StorageError: Its name is not allowed.
        """
        try:
            self.create(check_bucket_name(name), project, bucket_fields({}))
        except errors.StorageError as error:
            if error.status != HTTPStatus.CONFLICT:
                raise

    def get(self, name: str) -> Bucket:
        """A bucket.

        Raises:
            StorageError: It does not exist.
        """
        with self._database.reading() as connection:
            return bucket_of(connection, name)

    def list(self, project: str, prefix: str, after: str, limit: int) -> list[Bucket]:
        """The buckets of a project in the order of their names, after one, at most so many."""
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT * FROM buckets WHERE project = ? AND name > ?"
                " AND substr(name, 1, length(?)) = ? ORDER BY name LIMIT ?",
                (project, after, prefix, prefix, limit),
            )
            return [_as_bucket(row) for row in rows]

    def change(
        self,
        name: str,
        change: Callable[[Mapping[str, Any]], Mapping[str, Any]],
        preconditions: Preconditions,
    ) -> Bucket:
        """Changes the fields of a bucket.

        Raises:
            StorageError: It does not exist, or a precondition does not hold.
        """
        with self._database.changing() as connection:
            found = bucket_of(connection, name)
            preconditions.check(found)
            connection.execute(
                "UPDATE buckets SET metageneration = metageneration + 1, updated = ?, fields = ?"
                " WHERE name = ?",
                (now(), json.dumps(change(found.fields)), name),
            )
            return bucket_of(connection, name)

    def delete(self, name: str, preconditions: Preconditions) -> None:
        """Deletes a bucket, and the uploads into it that are under way.

        Raises:
            StorageError: It does not exist or is not empty, or a precondition does not hold.
        """
        with self._database.changing() as connection:
            preconditions.check(bucket_of(connection, name))
            if connection.execute("SELECT 1 FROM objects WHERE bucket = ?", (name,)).fetchone():
                raise errors.StorageError(
                    409,
                    "The bucket you tried to delete is not empty.",
                    xml_code="BucketNotEmpty",
                )
            rows = connection.execute(
                "SELECT uploads.content AS whole, parts.content AS part FROM uploads"
                " LEFT JOIN parts ON upload = id WHERE bucket = ?",
                (name,),
            )
            superfluous = {content for row in rows for content in row if content}
            connection.execute("DELETE FROM uploads WHERE bucket = ?", (name,))
            connection.execute("DELETE FROM buckets WHERE name = ?", (name,))
        self._contents.remove(superfluous)


def bucket_of(connection: sqlite3.Connection, name: str) -> Bucket:
    """A bucket, as a transaction sees it.

    Raises:
        StorageError: It does not exist.
    """
    row = connection.execute("SELECT * FROM buckets WHERE name = ?", (name,)).fetchone()
    if not row:
        raise errors.no_bucket()
    return _as_bucket(row)


def _as_bucket(row: sqlite3.Row) -> Bucket:
    return Bucket(**{**row, "fields": json.loads(row["fields"])})
