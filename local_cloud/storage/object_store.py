"""Objects: each change is one transaction that also checks its preconditions.

A content is complete before the row that refers to it is committed, and removed after the commit
that drops the last such row. Contents are opened under the lock that changes take, so that none
is removed between the look-up of an object and its opening.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

from local_cloud.storage import errors
from local_cloud.storage.bucket_store import bucket_of
from local_cloud.storage.contents import Content, Contents
from local_cloud.storage.database import Database, next_generation, now
from local_cloud.storage.preconditions import Preconditions
from local_cloud.storage.records import StoredObject


@dataclass(frozen=True)
class NewObject:
    """What is to become an object.

    Attributes:
        bucket: Its bucket.
        name: Its name.
        content: Complete.
        fields: What else its resource is to hold.
        components: How many objects it was composed of, if it was.
    """

    bucket: str
    name: str
    content: Content
    fields: Mapping[str, Any]
    components: int | None = None


@dataclass(frozen=True)
class Committed:
    """An object that was written.

    Attributes:
        object: The object.
        superfluous: Contents that no row refers to when the transaction is committed.
    """

    object: StoredObject
    superfluous: list[str]


class ObjectStore:
    """The objects of all buckets."""

    def __init__(self, database: Database, contents: Contents) -> None:
        self._database = database
        self._contents = contents

    def get(self, bucket: str, name: str, generation: int | None = None) -> StoredObject:
        """An object.

        Args:
            bucket: Its bucket.
            name: Its name.
            generation: The one it must have; None for any.

        Raises:
            StorageError: It does not exist.
        """
        with self._database.reading() as connection:
            return _object(connection, bucket, name, generation)

    def check(self, bucket: str, name: str, preconditions: Preconditions) -> None:
        """Checks whether an object could be written now.

        Raises:
            StorageError: The bucket does not exist, or a precondition does not hold.
        """
        with self._database.reading() as connection:
            bucket_of(connection, bucket)
            preconditions.check(_find(connection, bucket, name))

    def open(
        self,
        bucket: str,
        name: str,
        generation: int | None,
        check: Callable[[StoredObject], None],
    ) -> tuple[StoredObject, BinaryIO]:
        """An object and its open content.

        Args:
            bucket: Its bucket.
            name: Its name.
            generation: The one it must have; None for any.
            check: Raises when the object is not as it must be.

        Raises:
            StorageError: It does not exist.
        """
        with self._database.reading() as connection:
            found = _object(connection, bucket, name, generation)
            check(found)
            return found, self._contents.open(found.content.id)

    def link(
        self, bucket: str, name: str, generation: int | None, preconditions: Preconditions
    ) -> tuple[StoredObject, str]:
        """An object, and the id of a second content of the same bytes.

        Raises:
            StorageError: It does not exist, or a precondition does not hold.
        """
        with self._database.reading() as connection:
            found = _object(connection, bucket, name, generation)
            preconditions.check(found)
            return found, self._contents.link(found.content.id)

    def commit(self, new: NewObject, preconditions: Preconditions) -> StoredObject:
        """Makes a complete content an object.

        Raises:
            StorageError: The bucket does not exist, or a precondition does not hold.
        """
        with self._database.changing() as connection:
            done = put_object(connection, new, preconditions)
        self._contents.remove(done.superfluous)
        return done.object

    def change(
        self,
        bucket: str,
        name: str,
        generation: int | None,
        change: Callable[[StoredObject], Mapping[str, Any]],
        preconditions: Preconditions,
    ) -> StoredObject:
        """Changes the fields of an object.

        Raises:
            StorageError: It does not exist, or a precondition does not hold.
        """
        with self._database.changing() as connection:
            found = _object(connection, bucket, name, generation)
            preconditions.check(found)
            connection.execute(
                "UPDATE objects SET metageneration = metageneration + 1, updated = ?, fields = ?"
                " WHERE bucket = ? AND name = ?",
                (now(), json.dumps(change(found)), bucket, name),
            )
            return _object(connection, bucket, name)

    def move(
        self,
        source: tuple[str, str, int | None],
        name: str,
        *,
        of_source: Preconditions,
        of_target: Preconditions,
    ) -> StoredObject:
        """Renames an object within its bucket, in one step for whoever reads there.

        Args:
            source: Bucket, name and, if one is asked for, generation of the object.
            name: The new name.
            of_source: Must hold for the object.
            of_target: Must hold for what has the new name now.

        Raises:
            StorageError: The object does not exist, or a precondition does not hold.
        """
        with self._database.changing() as connection:
            found = _object(connection, *source)
            of_source.check(found)
            new = NewObject(found.bucket, name, found.content, found.fields, found.components)
            done = put_object(connection, new, of_target)
            _delete(connection, found)
        self._contents.remove(done.superfluous)
        return done.object

    def delete(
        self, bucket: str, name: str, generation: int | None, preconditions: Preconditions
    ) -> None:
        """Deletes an object.

        Raises:
            StorageError: It does not exist, or a precondition does not hold.
        """
        with self._database.changing() as connection:
            found = _object(connection, bucket, name, generation)
            preconditions.check(found)
            _delete(connection, found)
        self._contents.remove([found.content.id])

    def scan(self, bucket: str, start: str, end: str | None, limit: int) -> list[StoredObject]:
        """The objects of a bucket in the order of their names, at most so many.

        Args:
            bucket: The bucket.
            start: The first name.
            end: The name after the last; None for no end.
            limit: How many.

        Raises:
            StorageError: The bucket does not exist.
        """
        with self._database.reading() as connection:
            bucket_of(connection, bucket)
            rows = connection.execute(
                "SELECT * FROM objects WHERE bucket = ? AND name >= ? AND (? IS NULL OR name < ?)"
                " ORDER BY name LIMIT ?",
                (bucket, start, end, end, limit),
            )
            return [_as_object(row) for row in rows]


def put_object(
    connection: sqlite3.Connection, new: NewObject, preconditions: Preconditions
) -> Committed:
    """Writes the row of an object within a transaction.

    Raises:
        StorageError: The bucket does not exist, or a precondition does not hold.
    """
    storage_class = bucket_of(connection, new.bucket).fields["storageClass"]
    found = _find(connection, new.bucket, new.name)
    preconditions.check(found)
    time = now()
    written = StoredObject(
        bucket=new.bucket,
        name=new.name,
        generation=next_generation(connection),
        metageneration=1,
        content=new.content,
        components=new.components,
        created=time,
        updated=time,
        fields={"storageClass": storage_class, **new.fields},
    )
    row = {**vars(written), **vars(new.content), "content": new.content.id}
    connection.execute(
        "INSERT OR REPLACE INTO objects VALUES (:bucket, :name, :generation, :metageneration,"
        " :content, :size, :md5, :crc32c, :components, :created, :updated, :fields)",
        row | {"fields": json.dumps(written.fields)},
    )
    return Committed(written, [found.content.id] if found else [])


def _object(
    connection: sqlite3.Connection, bucket: str, name: str, generation: int | None = None
) -> StoredObject:
    found = _find(connection, bucket, name)
    if not found or generation not in (None, found.generation):
        bucket_of(connection, bucket)
        raise errors.no_object(bucket, name)
    return found


def _delete(connection: sqlite3.Connection, found: StoredObject) -> None:
    connection.execute(
        "DELETE FROM objects WHERE bucket = ? AND name = ?", (found.bucket, found.name)
    )


def _find(connection: sqlite3.Connection, bucket: str, name: str) -> StoredObject | None:
    row = connection.execute(
        "SELECT * FROM objects WHERE bucket = ? AND name = ?", (bucket, name)
    ).fetchone()
    return _as_object(row) if row else None


def _as_object(row: sqlite3.Row) -> StoredObject:
    return StoredObject(
        bucket=row["bucket"],
        name=row["name"],
        generation=row["generation"],
        metageneration=row["metageneration"],
        content=Content(row["content"], row["size"], row["md5"], row["crc32c"]),
        components=row["components"],
        created=row["created"],
        updated=row["updated"],
        fields=json.loads(row["fields"]),
    )
