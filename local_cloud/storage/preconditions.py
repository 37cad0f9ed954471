"""Preconditions of a request: what must hold for its target when it is read or committed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from local_cloud.storage.errors import StorageError, condition_not_met, invalid


class Versioned(Protocol):
    """What preconditions are about: an object or a bucket."""

    @property
    def generation(self) -> int:
        """Number of the content."""

    @property
    def metageneration(self) -> int:
        """Number of the metadata."""


class NotModified(StorageError):  # noqa: N818 - an answer, no error
    """The answer to a read of what the client has already; it has no body."""

    def __init__(self) -> None:
        super().__init__(304, "Not modified.")


@dataclass(frozen=True)
class Preconditions:
    """Conditions on generations; None where there is none.

    A generation of 0 stands for an object that does not exist.
    """

    generation_match: int | None = None
    generation_not_match: int | None = None
    metageneration_match: int | None = None
    metageneration_not_match: int | None = None

    def check(self, found: Versioned | None, *, reading: bool = False) -> None:
        """Checks the conditions; a change does so in the transaction that commits it.

        Args:
            found: What is there now.
            reading: Whether what the client has already is to be answered as not modified.

        Raises:
            StorageError: One does not hold.
        """
        generation = found.generation if found else 0
        metageneration = found.metageneration if found else None
        if self.generation_match not in (None, generation):
            raise condition_not_met("ifGenerationMatch")
        if self.metageneration_match not in (None, metageneration):
            raise condition_not_met("ifMetagenerationMatch")
        if self.generation_not_match is not None and (
            self.generation_not_match == generation or not found
        ):
            raise NotModified if reading else condition_not_met("ifGenerationNotMatch")
        if self.metageneration_not_match is not None and (
            self.metageneration_not_match == metageneration or not found
        ):
            raise NotModified if reading else condition_not_met("ifMetagenerationNotMatch")


def from_query(query: Mapping[str, str], of: str = "") -> Preconditions:
    """The preconditions among the parameters of the JSON API.

    Args:
        query: The parameters.
        of: ``Source`` for the conditions on the source of a copy.

    Raises:
        StorageError: One is no number.
    """
    return Preconditions(
        _number(query, f"if{of}GenerationMatch"),
        _number(query, f"if{of}GenerationNotMatch"),
        _number(query, f"if{of}MetagenerationMatch"),
        _number(query, f"if{of}MetagenerationNotMatch"),
    )


def from_headers(headers: Mapping[str, str], of: str = "") -> Preconditions:
    """The preconditions among the headers of the XML API.

    Args:
        headers: The headers.
        of: ``copy-source-`` for the conditions on the source of a copy.

    Raises:
        StorageError: One is no number.
    """
    return Preconditions(
        generation_match=_number(headers, f"x-goog-{of}if-generation-match"),
        metageneration_match=_number(headers, f"x-goog-{of}if-metageneration-match"),
    )


def check_etags(headers: Mapping[str, str], etag: str) -> None:
    """Checks the entity tags of a read.

    Args:
        headers: The request's headers.
        etag: The tag that the answer has, without quotes.

    Raises:
        StorageError: They do not hold.
    """
    wanted = headers.get("if-match")
    if wanted is not None and not _names(wanted, etag):
        raise condition_not_met("If-Match")
    known = headers.get("if-none-match")
    if known is not None and _names(known, etag):
        raise NotModified


def _names(header: str, etag: str) -> bool:
    tags = {tag.strip().removeprefix("W/").strip('"') for tag in header.split(",")}
    return "*" in tags or etag in tags


def _number(values: Mapping[str, str], name: str) -> int | None:
    text = values.get(name)
    if text is None:
        return None
    try:
        return int(text)
    except ValueError:
        raise invalid(f"Invalid value for {name}: {text!r}", location=name) from None
