"""Uploads under way: resumable ones, and those in parts."""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from local_cloud.storage import errors
from local_cloud.storage.bucket_store import bucket_of
from local_cloud.storage.checksums import Expected
from local_cloud.storage.contents import Content, Contents
from local_cloud.storage.database import Database, now
from local_cloud.storage.object_store import NewObject, put_object
from local_cloud.storage.preconditions import Preconditions
from local_cloud.storage.records import Part, StoredObject, Upload


class UploadStore:
    """The uploads to all buckets.

    A complete resumable upload stays known, since its client may ask again when the answer was
    lost; its content is the object's.
    """

    def __init__(self, database: Database, contents: Contents) -> None:
        self._database = database
        self._contents = contents

    def begin(
        self,
        bucket: str,
        name: str,
        fields: Mapping[str, Any],
        *,
        preconditions: Preconditions,
        expected: Expected,
        content: str | None,
    ) -> Upload:
        """Begins an upload.

        Args:
            bucket: Where the object is to be.
            name: Of the object.
            fields: Of the object's resource.
            preconditions: That must hold at the end.
            expected: The checksums of the whole.
            content: An empty content; None for an upload in parts.

        Raises:
            StorageError: The bucket does not exist.
        """
        upload = Upload(
            secrets.token_urlsafe(32), bucket, name, fields, preconditions, expected, content
        )
        with self._database.changing() as connection:
            bucket_of(connection, bucket)
            connection.execute(
                "INSERT INTO uploads VALUES (:id, :bucket, :name, :fields, :preconditions,"
                " :expected, :content, :size, :generation, :begun)",
                {
                    **vars(upload),
                    "fields": json.dumps(fields),
                    "preconditions": json.dumps(asdict(preconditions)),
                    "expected": json.dumps(asdict(expected)),
                    "begun": now(),
                },
            )
        return upload

    def get(self, upload: str) -> Upload:
        """An upload.

        Raises:
            StorageError: There is none of this id.
        """
        with self._database.reading() as connection:
            return _upload(connection, upload)

    def list(self, bucket: str) -> list[Upload]:
        """The uploads in parts to a bucket, by the names of the objects.

        Raises:
            StorageError: The bucket does not exist.
        """
        with self._database.reading() as connection:
            bucket_of(connection, bucket)
            rows = connection.execute(
                "SELECT * FROM uploads WHERE bucket = ? AND content IS NULL AND generation IS NULL"
                " ORDER BY name, id",
                (bucket,),
            )
            return [_as_upload(row) for row in rows]

    def keep(self, upload: str, size: int) -> None:
        """Notes how much of a resumable upload's content is kept."""
        with self._database.changing() as connection:
            connection.execute("UPDATE uploads SET size = ? WHERE id = ?", (size, upload))

    def complete(
        self, upload: Upload, content: Content, preconditions: Preconditions
    ) -> StoredObject:
        """Makes an upload's content its object.

        Args:
            upload: The upload. One in parts is forgotten.
            content: All of it.
            preconditions: That must hold now.

        Raises:
            StorageError: The bucket or the upload is gone, or a precondition does not hold; the
                upload is then as it was before.
        """
        with self._database.changing() as connection:
            _upload(connection, upload.id)
            new = NewObject(upload.bucket, upload.name, content, upload.fields)
            done = put_object(connection, new, preconditions)
            parts = _parts(connection, upload.id)
            connection.execute(
                "DELETE FROM uploads WHERE id = ?"
                if upload.content is None
                else "UPDATE uploads SET content = NULL, size = ?, generation = ? WHERE id = ?",
                (upload.id,)
                if upload.content is None
                else (content.size, done.object.generation, upload.id),
            )
        self._contents.remove([*done.superfluous, *(part.content.id for part in parts)])
        return done.object

    def drop(self, upload: str) -> None:
        """Forgets an upload that is not complete, and what was received of it.

        Raises:
            StorageError: There is none of this id.
        """
        with self._database.changing() as connection:
            found = _upload(connection, upload)
            superfluous = [part.content.id for part in _parts(connection, upload)]
            connection.execute("DELETE FROM uploads WHERE id = ?", (upload,))
        if found.content:
            superfluous.append(found.content)
        self._contents.remove(superfluous)

    def put_part(self, upload: str, number: int, content: Content) -> Part:
        """Adds a part, or replaces the one of this number.

        Raises:
            StorageError: There is no upload of this id.
        """
        part = Part(number, content, now())
        with self._database.changing() as connection:
            _upload(connection, upload)
            replaced = [one for one in _parts(connection, upload) if one.number == number]
            connection.execute(
                "INSERT OR REPLACE INTO parts VALUES (:upload, :number, :content, :size, :md5,"
                " :crc32c, :modified)",
                {**vars(part), **vars(content), "content": content.id, "upload": upload},
            )
        self._contents.remove(one.content.id for one in replaced)
        return part

    def parts(self, upload: str) -> Sequence[Part]:
        """The parts of an upload in the order of their numbers.

        Raises:
            StorageError: There is no upload of this id.
        """
        with self._database.reading() as connection:
            _upload(connection, upload)
            return _parts(connection, upload)


def _parts(connection: sqlite3.Connection, upload: str) -> Sequence[Part]:
    rows = connection.execute("SELECT * FROM parts WHERE upload = ? ORDER BY number", (upload,))
    return [
        Part(
            row["number"],
            Content(row["content"], row["size"], row["md5"], row["crc32c"]),
            row["modified"],
        )
        for row in rows
    ]


def _upload(connection: sqlite3.Connection, upload: str) -> Upload:
    row = connection.execute("SELECT * FROM uploads WHERE id = ?", (upload,)).fetchone()
    if not row:
        raise errors.no_upload()
    return _as_upload(row)


def _as_upload(row: sqlite3.Row) -> Upload:
    return Upload(
        id=row["id"],
        bucket=row["bucket"],
        name=row["name"],
        fields=json.loads(row["fields"]),
        preconditions=Preconditions(**json.loads(row["preconditions"])),
        expected=Expected(**json.loads(row["expected"])),
        content=row["content"],
        size=row["size"],
        generation=row["generation"],
    )
