"""The files of a run: which it reads, and whether it can write where it should."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Sequence
from pathlib import Path

from beam_jobs.errors import UsageError
from beam_jobs.files import InputFile, match_files
from beam_jobs.filesystems import is_remote
from beam_jobs.formats.formats import Compression


def find_files(
    pattern: str, compression: Compression | None, *, allow_empty: bool
) -> list[InputFile]:
    """Return the files of a run.

    Raises:
        UsageError: None matches, and that is not allowed.
    """
    files = match_files(pattern, compression)
    if not files and not allow_empty:
        raise UsageError(
            f"no file matches {pattern!r}; check the pattern, or allow an empty result with "
            "--allow_empty"
        )
    return files


def check_outputs(outputs: Sequence[str], pattern: str, files: Sequence[InputFile]) -> None:
    """Refuse results that would be read as input, or that cannot be written where they should.

    Raises:
        UsageError: Naming the output.
    """
    inputs = {_absolute(file.path) for file in files}
    for output in outputs:
        place = _absolute(output)
        if place in inputs or _matches(place, _absolute(pattern)):
            raise UsageError(f"{output}: the output is among the input files; write it elsewhere")
        if is_remote(output):
            continue
        folder = next(parent for parent in Path(place).parents if parent.exists())
        if Path(place).is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
            what = "is a folder" if Path(place).is_dir() else f"{folder} is no folder to write to"
            raise UsageError(f"{output}: cannot be written: {what}")


def _absolute(path: str) -> str:
    return path if is_remote(path) else os.path.abspath(path)  # noqa: PTH100  (keeps patterns)


def _matches(path: str, pattern: str) -> bool:
    """Whether a pattern would match a path: only ``**`` goes across folders."""
    if "**" in pattern:
        return fnmatch.fnmatchcase(path, pattern)
    parts, wanted = path.split("/"), pattern.split("/")
    return len(parts) == len(wanted) and all(map(fnmatch.fnmatchcase, parts, wanted))
