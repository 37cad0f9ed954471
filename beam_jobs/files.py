"""Input files and result files, on local disk and in Cloud Storage alike.

Local paths need no Beam; anything with a scheme (``gs://…``) goes through Beam's filesystems, which
are imported only then.
"""

from __future__ import annotations

import bz2
import contextlib
import glob
import gzip
import io
import os
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any, cast

import zstandard

from beam_jobs.errors import InputError, TallyflowError, UsageError

_COPY_BUFFER_BYTES = 4 * 1024 * 1024

# By the last ending of the name, as gzip and its like put it there.
_DECOMPRESSORS: MappingProxyType[str, Callable[[IO[bytes]], IO[bytes]]] = MappingProxyType(
    {
        ".gz": lambda stream: cast("IO[bytes]", gzip.GzipFile(fileobj=stream)),
        ".bz2": lambda stream: cast("IO[bytes]", bz2.BZ2File(stream)),
        ".zst": lambda stream: zstandard.ZstdDecompressor().stream_reader(
            stream, read_across_frames=True
        ),
    }
)


@dataclass(frozen=True)
class InputFile:
    """A file to read: its path or URL as matched, and its size in bytes as stored."""

    path: str
    size: int


def is_remote(path: str) -> bool:
    """Whether a path is a URL of a filesystem of Beam's, such as ``gs://bucket/object``."""
    return "://" in path


def match_files(pattern: str) -> list[InputFile]:
    """Return the files that match a glob pattern, in order of their paths.

    Hidden files (``.name``) do not match ``*``, as in a shell; folders never match.

    Raises:
        UsageError: The pattern names a folder.
        InputError: A file or a bucket cannot be listed.
    """
    if is_remote(pattern):
        return _match_remote(pattern)
    if Path(pattern).is_dir():
        raise UsageError(f"{pattern} is a folder; name its files: {pattern.rstrip('/')}/*.csv")
    paths = [pattern] if Path(pattern).is_file() else glob.glob(pattern, recursive=True)  # noqa: PTH207
    with _failing(pattern, "cannot be listed", InputError):
        found = [InputFile(path, Path(path).stat().st_size) for path in paths if Path(path).is_file()]
    return sorted(found, key=lambda file: file.path)


def _match_remote(pattern: str) -> list[InputFile]:
    from apache_beam.io.filesystems import FileSystems

    with _failing(pattern, "cannot be listed", InputError):
        (result,) = FileSystems.match([pattern])
    found = [InputFile(found.path, found.size_in_bytes) for found in result.metadata_list]
    # A "folder" made in a bucket's console is an object of no bytes whose name ends in a slash.
    return sorted((f for f in found if not f.path.endswith("/")), key=lambda file: file.path)


def content_ending(path: str) -> str:
    """Return the ending that tells the format: ``.csv`` of ``flights.csv.gz``, in lower case."""
    name = Path(path.lower())
    return Path(name.stem).suffix if name.suffix in _DECOMPRESSORS else name.suffix


@contextlib.contextmanager
def open_input(path: str) -> Iterator[IO[bytes]]:
    """Open a file for reading its decompressed bytes.

    Raises:
        InputError: Now or while reading: it cannot be read, or its compressed data is broken.
    """
    with _failing(path, "cannot be read", InputError), _open_raw(path) as raw:
        decompressor = _DECOMPRESSORS.get(Path(path.lower()).suffix)
        yield decompressor(raw) if decompressor else raw


def _open_raw(path: str) -> IO[bytes]:
    if not is_remote(path):
        return Path(path).open("rb")
    from apache_beam.io.filesystem import CompressionTypes
    from apache_beam.io.filesystems import FileSystems

    stream = FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED)
    return cast("IO[bytes]", stream)


@contextlib.contextmanager
def local_plain_file(path: str, folder: str) -> Iterator[str]:
    """Give a local path to a file's decompressed bytes; a copy in `folder` where one is needed.

    Raises:
        InputError: The file cannot be read.
    """
    if not is_remote(path) and Path(path.lower()).suffix not in _DECOMPRESSORS:
        with _failing(path, "cannot be read", InputError), Path(path).open("rb"):
            pass
        yield str(Path(path).resolve())
        return
    handle, copy = tempfile.mkstemp(dir=folder, suffix=content_ending(path))
    try:
        with open_input(path) as source, io.FileIO(handle, "wb") as target:
            shutil.copyfileobj(source, target, _COPY_BUFFER_BYTES)
        yield copy
    finally:
        Path(copy).unlink()


def write_file(local: str, destination: str) -> None:
    """Put a finished local file at its destination, in one step for whoever reads there.

    Raises:
        TallyflowError: The destination cannot be written.
    """
    with _failing(destination, "cannot be written"):
        if is_remote(destination):
            from apache_beam.io.filesystems import FileSystems

            # An object appears when its upload is complete; a failed upload leaves the old one.
            with Path(local).open("rb") as source, FileSystems.create(destination) as target:
                shutil.copyfileobj(source, target, _COPY_BUFFER_BYTES)
            return
        Path(destination).parent.mkdir(parents=True, exist_ok=True)
        handle, beside = tempfile.mkstemp(dir=Path(destination).parent, prefix=".", suffix=".part")
        try:
            with Path(local).open("rb") as source, io.FileIO(handle, "wb") as target:
                shutil.copyfileobj(source, target, _COPY_BUFFER_BYTES)
                os.fsync(target.fileno())
            os.chmod(beside, 0o666 & ~_umask())  # noqa: PTH101  (mkstemp makes it private)
            os.replace(beside, destination)  # noqa: PTH105
        except BaseException:
            Path(beside).unlink(missing_ok=True)
            raise


def move_file(staged: str, destination: str) -> None:
    """Move a staged file to its destination; a second call after the first is no error.

    Raises:
        TallyflowError: The destination cannot be written.
    """
    with _failing(destination, "cannot be written"):
        if is_remote(destination):
            from apache_beam.io.filesystems import FileSystems

            if FileSystems.exists(staged):
                FileSystems.rename([staged], [destination])
        elif Path(staged).exists():
            os.replace(staged, destination)  # noqa: PTH105


def delete_file(path: str) -> None:
    """Delete a file if it is there.

    Raises:
        TallyflowError: It is there and cannot be deleted.
    """
    with _failing(path, "cannot be deleted"):
        if not is_remote(path):
            Path(path).unlink(missing_ok=True)
            return
        from apache_beam.io.filesystems import FileSystems

        if FileSystems.exists(path):
            FileSystems.delete([path])


def join_path(folder: str, name: str) -> str:
    """Join a folder, local or remote, and a name."""
    return f"{folder.rstrip('/')}/{name}"


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


@contextlib.contextmanager
def _failing(path: str, what: str, kind: type[TallyflowError] = TallyflowError) -> Iterator[None]:
    """Turn whatever a filesystem or a decompressor raises into one line that names the path."""
    try:
        yield
    except TallyflowError:
        raise
    except EOFError as error:
        raise kind(f"{path}: {what}: the compressed data ends too early; is it truncated?") from error
    except (OSError, zlib.error, zstandard.ZstdError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise kind(f"{path}: {what}: {reason}") from error
    except Exception as error:
        if type(error).__module__.split(".")[0] not in ("apache_beam", "google", "requests"):
            raise
        raise kind(f"{path}: {what}: {_first_line(error)}") from error


def _first_line(error: Any) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
