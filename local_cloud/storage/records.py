"""What the store keeps: buckets, objects and uploads under way."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from local_cloud.storage.checksums import Expected, md5_as_hex
from local_cloud.storage.contents import Content
from local_cloud.storage.preconditions import Preconditions


@dataclass(frozen=True)
class Bucket:
    """A bucket.

    Attributes:
        name: Its name.
        project: Of this project.
        metageneration: Number of its metadata.
        created: Time in RFC 3339.
        updated: Time in RFC 3339.
        fields: What else its resource holds, as the client gave it: labels, location, ...
    """

    name: str
    project: str
    metageneration: int
    created: str
    updated: str
    fields: Mapping[str, Any]

    @property
    def generation(self) -> int:
        """Buckets have one generation only."""
        return 1

    @property
    def etag(self) -> str:
        """Changes with the metadata."""
        return _etag(1, self.metageneration)


@dataclass(frozen=True)
class StoredObject:
    """An object.

    Attributes:
        bucket: Its bucket.
        name: Its name.
        generation: Number of its content.
        metageneration: Number of its metadata.
        content: Its content.
        components: How many objects it was composed of, if it was.
        created: Time in RFC 3339.
        updated: Time in RFC 3339.
        fields: What else its resource holds, as the client gave it: contentType, metadata, ...
    """

    bucket: str
    name: str
    generation: int
    metageneration: int
    content: Content
    components: int | None
    created: str
    updated: str
    fields: Mapping[str, Any]

    @property
    def etag(self) -> str:
        """Changes with content and metadata."""
        return _etag(self.generation, self.metageneration)

    @property
    def xml_etag(self) -> str:
        """The ETag of the XML API, in quotes: the MD5 where there is one."""
        md5 = self.content.md5
        return f'"{md5_as_hex(md5)}"' if md5 else f'"{self.etag}"'

    @property
    def content_type(self) -> str:
        """As downloads are told."""
        return str(self.fields.get("contentType") or "application/octet-stream")

    @property
    def is_gzipped(self) -> bool:
        """Whether a client that does not ask for gzip is sent the decompressed content."""
        return self.fields.get("contentEncoding") == "gzip" and "no-transform" not in str(
            self.fields.get("cacheControl")
        )


@dataclass(frozen=True)
class Upload:
    """An upload under way, or complete and still known to its client.

    Attributes:
        id: What the client names it by.
        bucket: Where the object is to be.
        name: Of the object.
        fields: Of the object's resource.
        preconditions: That must hold at the end.
        expected: The checksums that the client gave at the beginning.
        content: The id of its content; None for an upload in parts.
        size: The bytes of it that are kept.
        generation: Of the object that it became.
    """

    id: str
    bucket: str
    name: str
    fields: Mapping[str, Any]
    preconditions: Preconditions
    expected: Expected
    content: str | None = None
    size: int = 0
    generation: int | None = None


@dataclass(frozen=True)
class Part:
    """A part of an upload in parts.

    Attributes:
        number: Its place.
        content: Its content.
        modified: Time in RFC 3339.
    """

    number: int
    content: Content
    modified: str

    @property
    def etag(self) -> str:
        """Its MD5, in quotes."""
        return f'"{md5_as_hex(self.content.md5 or "")}"'


def _etag(generation: int, metageneration: int) -> str:
    return base64.b64encode(f"{generation}/{metageneration}".encode()).decode()
