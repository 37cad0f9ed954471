"""Result files: each appears at its place in one step, on local disk and in Cloud Storage alike."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import tempfile
from pathlib import Path

from beam_jobs.errors import TallyflowError
from beam_jobs.filesystems import failing, filesystems, is_remote

_COPY_BUFFER_BYTES = 4 * 1024 * 1024


def write_file(local: str, destination: str) -> None:
    """Put a finished local file at its destination, in one step for whoever reads there.

    Raises:
        TallyflowError: The destination cannot be written.
    """
    with failing(destination, "cannot be written"):
        if is_remote(destination):
            # An object appears when its upload is complete; a failed upload leaves the old one.
            with (
                Path(local).open("rb") as source,
                filesystems(destination).create(destination) as target,
            ):
                shutil.copyfileobj(source, target, _COPY_BUFFER_BYTES)
        else:
            _replace(Path(local), Path(destination))


def write_text(text: str, destination: str) -> None:
    """Put a text at its destination as `write_file` does, which see."""
    with tempfile.TemporaryDirectory(prefix="tallyflow-") as scratch:
        local = Path(scratch, "text")
        local.write_text(text, encoding="utf-8")
        write_file(str(local), destination)


def _replace(local: Path, destination: Path) -> None:
    """Copy a file beside its destination and then put it there in one step."""
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)) from error
    beside = destination.parent / f".{secrets.token_hex(8)}.part"
    try:
        with local.open("rb") as source, beside.open("xb") as target:
            shutil.copyfileobj(source, target, _COPY_BUFFER_BYTES)
            target.flush()
            os.fsync(target.fileno())
        beside.replace(destination)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def move_file(staged: str, destination: str) -> None:
    """Move a staged file to its destination; a second call after the first is no error.

    Raises:
        TallyflowError: The destination cannot be written.
    """
    with failing(destination, "cannot be written"):
        if is_remote(destination):
            remote = filesystems(destination)
            if remote.exists(staged):
                remote.rename([staged], [destination])
            elif not remote.exists(destination):
                raise TallyflowError(f"{destination}: cannot be written: {staged} is gone")
        elif Path(staged).exists() or not Path(destination).exists():
            Path(staged).replace(destination)


def delete_file(path: str) -> None:
    """Delete a file if it is there.

    Raises:
        TallyflowError: It is there and cannot be deleted.
    """
    with failing(path, "cannot be deleted"):
        if not is_remote(path):
            Path(path).unlink(missing_ok=True)
            return
        remote = filesystems(path)
        if remote.exists(path):
            remote.delete([path])
