"""The files that a load job reads, fetched from the local Cloud Storage."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from google.auth.credentials import AnonymousCredentials
from google.cloud.storage import Blob, Client

from local_cloud.bigquery.naming import not_found
from local_cloud.errors import ServiceError

_URI = re.compile(r"gs://([^/*]+)/([^*]*(?:\*[^*]*)?)")
_GZIP = b"\x1f\x8b"


@dataclass(frozen=True)
class Source:
    """An object, and the local copy of it.

    Attributes:
        uri: Its name, ``gs://bucket/object``.
        path: The copy.
    """

    uri: str
    path: Path


def fetch(uris: Sequence[str], folder: Path) -> list[Source]:
    """Copies objects into a folder.

    Args:
        uris: ``gs://bucket/object``, each with one ``*`` at most, which may stand for slashes too.
        folder: Where the copies are put.

    Raises:
        ServiceError: A URI is malformed, or nothing matches it.
    """
    if not os.environ.get("STORAGE_EMULATOR_HOST"):
        raise ServiceError(
            400,
            "The local BigQuery reads gs:// only from the local Cloud Storage: start it with "
            "STORAGE_EMULATOR_HOST set.",
        )
    anonymous = AnonymousCredentials()  # type: ignore[no-untyped-call]
    client = Client(project="local-project", credentials=anonymous)
    blobs = [blob for uri in uris for blob in _matching(client, uri)]
    return [_copy(blob, folder / f"{number:05}") for number, blob in enumerate(blobs)]


def _matching(client: Client, uri: str) -> list[Blob]:
    parts = _URI.fullmatch(uri)
    if not parts:
        raise ServiceError(
            400,
            f"Source URI must be a Google Cloud Storage location of the form "
            f"gs://bucket/object, with at most one * in the object's name: {uri}",
        )
    bucket, name = parts.groups()
    # Listed also where there is no wildcard: one way to find out that there is no such object.
    pattern = "".join(f"[{one}]" if one in "[?" else one for one in name)
    found = [
        blob
        for blob in client.list_blobs(bucket, prefix=name.partition("*")[0])
        if fnmatch.fnmatchcase(blob.name, pattern)
    ]
    if not found:
        raise not_found("URI", uri)
    return found


def _copy(blob: Blob, path: Path) -> Source:
    blob.download_to_filename(str(path), raw_download=True)
    with path.open("rb") as copy:
        compressed = copy.read(2) == _GZIP
    if compressed:
        path = path.rename(path.with_suffix(".gz"))
    return Source(f"gs://{blob.bucket.name}/{blob.name}", path)
