"""Reads the documents that are kept beside results: reports of runs and audits."""

from __future__ import annotations

from typing import TypeVar

from beam_jobs.documents import Document
from beam_jobs.errors import InputError
from beam_jobs.filesystems import join_path
from beam_jobs.publishing.conditional_files import open_store

_Kind = TypeVar("_Kind", bound=Document)


def find_document(kind: type[_Kind], folder: str, name: str) -> _Kind | None:
    """Return a document; None if it is not there.

    Args:
        kind: What it is.
        folder: A folder, or a ``gs://`` URL.
        name: Its path below that.

    Raises:
        InputError: What is there is no such document.
    """
    stored = open_store(folder).read(name)
    return kind.of_json(stored.data, join_path(folder, name)) if stored else None


def read_document(kind: type[_Kind], folder: str, name: str) -> _Kind:
    """Return a document that has to be there; arguments as of `find_document`.

    Raises:
        InputError: It is not there, or is no such document.
    """
    found = find_document(kind, folder, name)
    if found is None:
        raise InputError(
            f"{join_path(folder, name)}: there is no such {kind.kind}; was it deleted, or the "
            "partition published several times just now? Run this again, or compute the "
            "partition again"
        )
    return found
