"""Objects in the local Cloud Storage that launches read and write."""

from __future__ import annotations

import functools
import os

from google.api_core.exceptions import Conflict, NotFound
from google.auth.credentials import AnonymousCredentials
from google.cloud.storage import Blob, Client

EMULATOR = "STORAGE_EMULATOR_HOST"


class MissingObjectError(Exception):
    """An object, or its bucket, is not there."""


def read_object(uri: str) -> bytes:
    """The content of ``gs://BUCKET/NAME``.

    Raises:
        MissingObjectError: It is not there, or the uri is not of this form.
    """
    try:
        content: bytes = Blob.from_uri(uri, client=_client()).download_as_bytes()
    except (NotFound, ValueError) as error:
        raise MissingObjectError(uri) from error
    return content


def write_object(uri: str, content: bytes) -> None:
    """Writes ``gs://BUCKET/NAME``.

    Raises:
        MissingObjectError: The bucket is not there.
    """
    try:
        Blob.from_uri(uri, client=_client()).upload_from_string(content)
    except NotFound as error:
        raise MissingObjectError(uri) from error


def make_bucket(name: str, project: str, location: str) -> None:
    """Makes a bucket that need not be new."""
    client = _client()
    try:
        client.create_bucket(name, project=project, location=location)
    except Conflict:
        client.get_bucket(name)


@functools.cache
def _client() -> Client:
    if not os.environ.get(EMULATOR):  # else the client would look for the real service
        raise RuntimeError(f"{EMULATOR} is not set: there is no local storage service to ask")
    return Client(project="local-project", credentials=AnonymousCredentials())  # type: ignore[no-untyped-call]
