"""Brings Parquet files to a locked DuckDB session: as links, or as copies of what is read."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from beam_jobs.files import changed, open_input
from beam_jobs.formats.parquet_footer import Footer, copy_spans

_COPY_BYTES = 4 * 1024 * 1024


def release(scratch: str) -> None:
    """Delete what `load` copied; its SELECTs cannot be run any more."""
    for copy in Path(scratch).glob("*.parquet"):
        copy.unlink()


def _local_name(footer: Footer, scratch: str) -> Path:
    """Return a name without ``*`` and ``[``, which DuckDB would take for a pattern."""
    path = hashlib.sha256(footer.file.path.encode()).hexdigest()
    return Path(scratch) / f"{path[:32]}-{footer.stamp:08x}.parquet"


def link(footer: Footer, scratch: str) -> str:
    """Give a local file a name in the scratch folder."""
    found = _local_name(footer, scratch)
    if not found.is_symlink():
        found.symlink_to(os.path.realpath(footer.file.path))
    return str(found)


def copy(footer: Footer, scratch: str, spans: Iterable[tuple[int, int]] = ()) -> str:
    """Copy the footer of a file, and some of its bytes, to the same places of a local file."""
    found = _local_name(footer, scratch)
    found.touch()
    with found.open("r+b") as target:
        target.truncate(footer.file.size)
        target.seek(footer.file.size - len(footer.data))
        target.write(footer.data)
        if wanted := list(spans):
            with open_input(footer.file) as source:
                is_there = copy_spans(source, target, wanted, _COPY_BYTES)
            if not is_there:
                raise changed(footer.file.path)
    # The footer of all copies of a file is the same: DuckDB need not parse it again.
    os.utime(found, (0, 0))
    return str(found)
