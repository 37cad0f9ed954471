"""The store: all data of the service, below one directory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from local_cloud.storage.bucket_store import BucketStore
from local_cloud.storage.contents import Contents, ContentWriter
from local_cloud.storage.database import Database
from local_cloud.storage.object_store import ObjectStore
from local_cloud.storage.upload_store import UploadStore


class Store:
    """Buckets, objects and uploads under way.

    Attributes:
        contents: The files with what the objects hold.
        buckets: The buckets.
        objects: The objects.
        uploads: The uploads under way.
    """

    def __init__(self, directory: Path, projects: set[str]) -> None:
        self.contents = Contents(directory / "contents")
        database = Database(directory / "metadata.sqlite")
        self.buckets = BucketStore(database, self.contents, projects)
        self.objects = ObjectStore(database, self.contents)
        self.uploads = UploadStore(database, self.contents)
        with database.reading() as connection:
            rows = connection.execute(
                "SELECT content FROM objects UNION SELECT content FROM parts"
                " UNION SELECT content FROM uploads WHERE content NOT NULL"
            )
            self.contents.sweep({row["content"] for row in rows})

    @contextmanager
    def writing(self, *, with_md5: bool = True) -> Iterator[ContentWriter]:
        """A new content; it is removed when an exception leaves the block.

        Args:
            with_md5: False for what is put together from others: as in the service, it has none.
        """
        writer = self.contents.new(with_md5=with_md5)
        try:
            yield writer
        except BaseException:
            writer.discard()
            raise
        writer.close()
