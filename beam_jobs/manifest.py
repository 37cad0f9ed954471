"""The manifest of a partition: the one document that says which files are published.

It is replaced in one step, so that readers see one version of the partition or another, entirely.
Whoever shows partitions reads it, DAG files too: nothing heavy is imported here.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from beam_jobs.errors import InputError

FILE_NAME = "manifest.json"


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PublishedAggregate(_Model):
    """The files of one aggregate. Paths are relative to the partition's folder."""

    result: str
    rows: int
    states: tuple[str, ...] = Field(description="One for each relation; empty if none are kept.")
    fingerprint: str = Field(description="Of the query and of the types of what it reads.")


class Version(_Model):
    """One complete result of a partition. Paths are relative to the partition's folder."""

    number: int = Field(description="Counts the publications of the partition, from 1.")
    run_id: str
    published: datetime.datetime
    rows: int = Field(description="Records that were aggregated.")
    aggregates: Mapping[str, PublishedAggregate]
    report: str = Field(description="The run report.")
    sources: Mapping[str, str] = Field(
        default={},
        description="Of a rollup: the run id of each partition that it was computed from, by key.",
    )


class Manifest(_Model):
    """What is published of a partition, and what was before.

    Attributes:
        dataset: Name of the dataset.
        partition: Key of the partition.
        current: Number of the version that readers see.
        versions: Those whose files are kept, the newest first, the current one among them.
    """

    dataset: str
    partition: str
    current: int
    versions: tuple[Version, ...]

    @property
    def version(self) -> Version:
        """The version that readers see."""
        return next(one for one in self.versions if one.number == self.current)

    def to_json(self) -> str:
        """The manifest as a JSON document."""
        return self.model_dump_json(indent=1) + "\n"

    @classmethod
    def of_json(cls, text: str | bytes, path: str) -> Self:
        """Reads a manifest.

        Args:
            text: The JSON document.
            path: Where it is from, for errors.

        Raises:
            InputError: It is none.
        """
        try:
            manifest = cls.model_validate_json(text)
        except ValidationError as error:
            raise InputError(f"{path}: is no manifest of this version: {error}") from error
        if manifest.current not in {one.number for one in manifest.versions}:
            raise InputError(f"{path}: its current version {manifest.current} is not listed")
        return manifest
