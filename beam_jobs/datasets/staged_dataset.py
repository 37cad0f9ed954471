"""A dataset's file in a bucket, for a job that is launched where the file itself is not.

DAG files import this module, so it imports nothing heavy.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from beam_jobs.datasets.dataset import DEFAULTS


def staged_url(path: Path, folder: str) -> str:
    """Where `stage_dataset` puts a dataset's file: a name that says what is in it.

    Args:
        path: The file, beside which its defaults are.
        folder: For all such files.
    """
    content = hashlib.sha256()
    for file in _files(path):
        content.update(file.read_bytes() + b"\0")
    return f"{folder}/{content.hexdigest()[:16]}/{path.name}"


def stage_dataset(path: Path, folder: str) -> str:
    """Puts a dataset's file, and its defaults, where a job finds them; returns where.

    Raises:
        TallyflowError: They cannot be written.
    """
    from beam_jobs.output_files import write_file

    url = staged_url(path, folder)
    # The dataset's own comes last: where it is, all of it is.
    for file in reversed(_files(path)):
        write_file(str(file), f"{url.rpartition('/')[0]}/{file.name}")
    return url


def fetch_dataset(url: str, folder: str) -> Path:
    """Copies a dataset's file, and its defaults, out of a bucket.

    Args:
        url: Of the file; or a local path, which is what it is.
        folder: Where the copies go.

    Raises:
        InputError: It cannot be read.
    """
    from beam_jobs.files import local_copy, match_files
    from beam_jobs.filesystems import is_remote

    if not is_remote(url):
        return Path(url)
    parent, _, name = url.rpartition("/")
    for file in match_files(f"{parent}/{DEFAULTS}"):
        local_copy(file.path, f"{folder}/{DEFAULTS}")
    return Path(local_copy(url, f"{folder}/{name}"))


def _files(path: Path) -> list[Path]:
    defaults = path.with_name(DEFAULTS)
    return [path, defaults] if defaults.exists() else [path]
