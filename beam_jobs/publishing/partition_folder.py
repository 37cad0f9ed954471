"""Where the results of a partition and of its runs are, and what is published of it.

DAG files may import this module: nothing heavy is imported here.
"""

from __future__ import annotations

import datetime
import hashlib
import re
import secrets
from dataclasses import dataclass
from typing import NamedTuple

from beam_jobs.datasets.partition import Partition
from beam_jobs.errors import InputError, UsageError
from beam_jobs.filesystems import join_path
from beam_jobs.publishing import manifest as manifests
from beam_jobs.publishing.conditional_files import open_store
from beam_jobs.publishing.manifest import Manifest

RESULTS = "results"
RUNS = "runs"

_RUN_ID = re.compile(r"[A-Za-z0-9_+-][A-Za-z0-9._+-]{0,199}")
_OTHER_SIGNS = re.compile(r"[^A-Za-z0-9._+-]")
# Of a name that becomes an id; with the hash it leaves room for the number of an attempt.
_KEPT_OF_NAME = 177
_LONGEST_NAME = 190


class Found(NamedTuple):
    """A manifest as it was read.

    Attributes:
        manifest: What it says.
        token: Stands for this version of the document, where it is replaced.
    """

    manifest: Manifest
    token: str


@dataclass(frozen=True)
class PartitionFolder:
    """Where the results of a partition are.

    Attributes:
        storage: The storage root, a folder or a ``gs://`` URL.
        dataset: Name of the dataset.
        partition: Which.
    """

    storage: str
    dataset: str
    partition: Partition

    @property
    def path(self) -> str:
        """The folder."""
        return join_path(self.storage, f"{RESULTS}/{self.dataset}/{self.partition.folder}")

    @property
    def manifest(self) -> str:
        """The manifest in it."""
        return join_path(self.path, manifests.FILE_NAME)

    def run(self, run_id: str) -> str:
        """The folder of a run.

        Raises:
            UsageError: The id is none.
        """
        return join_path(self.path, f"{RUNS}/{check_run_id(run_id)}")

    def __str__(self) -> str:
        return f"{self.dataset} {self.partition.key}"


def check_run_id(run_id: str) -> str:
    """Return an id of a run, which names its folder.

    Raises:
        UsageError: It is none: it has other signs than letters, digits and ``. _ + -``, begins
            with a dot, or is longer than 200.
    """
    if not _RUN_ID.fullmatch(run_id):
        raise UsageError(
            f"the run id {run_id!r} names no folder: use at most 200 letters, digits and . _ + -, "
            "with no dot at the beginning"
        )
    return run_id


def new_run_id() -> str:
    """Return a run id that no other run has; later ones come after it."""
    return f"{datetime.datetime.now(datetime.UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(4)}"


def run_id_of(name: str) -> str:
    """Return the run id for a name of a run, such as Airflow's.

    What is a run id already stays as it is, up to 190 signs. Of others, such as
    ``scheduled__2013-01-02T00:00:00+00:00``, each sign that does not go into a run id becomes a
    ``-``, and a hash of the name follows: no two names have one id.

    Raises:
        UsageError: It is empty, or has a path separator.
    """
    if not name or "/" in name or "\\" in name:
        raise UsageError(f"{name!r} is no name of a run: it must not be empty, or have a / or \\")
    if len(name) <= _LONGEST_NAME and _RUN_ID.fullmatch(name):
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:12]
    return f"{_OTHER_SIGNS.sub('-', name)[:_KEPT_OF_NAME].lstrip('.')}-{digest}"


def read_manifest(folder: PartitionFolder) -> Found | None:
    """Return what is published of a partition; None if nothing is.

    Raises:
        InputError: The manifest is none of this version.
        TallyflowError: It cannot be read.
    """
    stored = open_store(folder.path).read(manifests.FILE_NAME)
    if stored is None:
        return None
    found = Manifest.of_json(stored.data, folder.manifest)
    if (found.dataset, found.partition) != (folder.dataset, folder.partition.key):
        raise InputError(
            f"{folder.manifest}: is that of {found.dataset} {found.partition}; was it copied?"
        )
    return Found(found, stored.token)


def newest_version_number(folder: PartitionFolder) -> int:
    """Return the number of the version that was published last, 0 if there is none."""
    found = read_manifest(folder)
    return found.manifest.newest if found else 0
