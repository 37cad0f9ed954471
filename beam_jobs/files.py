"""Input files, on local disk and in Cloud Storage alike.

Local paths need no Beam; anything with a scheme (``gs://…``) goes through Beam's filesystems, which
are imported only then.
"""

from __future__ import annotations

import contextlib
import glob
import io
import os
import re
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, cast

from beam_jobs.errors import InputError, UsageError
from beam_jobs.filesystems import failing, filesystems, is_remote
from beam_jobs.formats.decompress import ENDINGS, decompressed
from beam_jobs.formats.encodings import transcoded
from beam_jobs.formats.formats import COMPRESSION_ENDINGS, Compression, Encoding

_COPY_BUFFER_BYTES = 4 * 1024 * 1024
_PATTERN = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class InputFile:
    """A file to read, as it was when it was matched.

    Attributes:
        path: Its path or URL.
        size: In bytes, as stored.
        modified: When it was last changed, in seconds since 1970; None where that is not known.
        compression: None if the ending of its name tells.
    """

    path: str
    size: int
    modified: float | None = field(default=None, compare=False)
    compression: Compression | None = None

    @property
    def compression_ending(self) -> str:
        """The ending that its compression usually has; empty if it is not compressed."""
        if self.compression is not None:
            return COMPRESSION_ENDINGS[self.compression]
        ending = Path(self.path.lower()).suffix
        return ending if ending in ENDINGS else ""

    @property
    def is_compressed(self) -> bool:
        """Whether its bytes have to be decompressed, from the first one on."""
        return bool(self.compression_ending)


def match_files(pattern: str, compression: Compression | None = None) -> list[InputFile]:
    """Return the files that match a glob pattern, in order of their paths.

    Hidden files and folders (``.name``) do not match ``*``, as in a shell; folders never match.

    Args:
        pattern: A path or URL, with ``*`` and ``**``.
        compression: Of all files; None if the endings of their names tell.

    Raises:
        UsageError: The pattern names a folder.
        InputError: A folder or a bucket cannot be listed, or what matches is no readable file.
    """
    if is_remote(pattern):
        found = _match_remote(pattern)
    else:
        with failing(pattern, "cannot be listed", InputError):
            found = _match_local(pattern)
    for file in found:
        if not file.path.isprintable():
            _check_name(file.path)
    files = sorted(found, key=lambda file: file.path)
    return [replace(file, compression=compression) for file in files] if compression else files


def check_unchanged(file: InputFile) -> None:
    """Fail if a file is not any more what it was when it was matched.

    Raises:
        InputError: It was changed or deleted.
    """
    if not is_remote(file.path):
        found = [_local_file(file.path)]
    elif _PATTERN.search(file.path):
        return  # As a pattern, its name may match others.
    else:
        found = _match_remote(file.path)
    if [(one.path, one.size) for one in found] != [(file.path, file.size)] or file.modified not in (
        None,
        found[0].modified,
    ):
        raise changed(file.path)


def changed(path: str) -> InputError:
    """Return the error for a file that is not any more what it was when it was matched."""
    return InputError(f"{path}: was changed while the job ran; run it again when all is written")


def _check_name(path: str) -> None:
    try:
        path.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{path!r}: the file's name is not UTF-8; rename it") from error


def _match_local(pattern: str) -> list[InputFile]:
    if Path(pattern).is_dir():
        raise UsageError(f"{pattern} is a folder; name its files: {pattern.rstrip('/')}/*.csv")
    if os.path.lexists(pattern):
        return [_local_file(pattern)]
    _check_folders(pattern)
    paths = glob.glob(pattern, recursive=True)  # noqa: PTH207  (pathlib's matches hidden files)
    # Several ** find a file in several ways, and through links that lead back there is no end.
    found = {os.path.realpath(path): path for path in sorted(paths, reverse=True)}
    kept = found.values() if "**" in pattern else paths
    return [_local_file(path) for path in kept if not Path(path).is_dir()]


def _local_file(path: str) -> InputFile:
    with failing(path, "cannot be read", InputError):
        status = Path(path).stat()
    if not stat.S_ISREG(status.st_mode):
        raise InputError(f"{path}: is not a regular file")
    return InputFile(path, status.st_size, status.st_mtime)


def _check_folders(pattern: str) -> None:
    """Fail on a folder that cannot be listed: glob takes it for an empty one."""
    folders = os.path.dirname(pattern)  # noqa: PTH120  (of a pattern, not of a path)
    if not folders or folders == pattern:
        return
    _check_folders(folders)
    for folder in glob.glob(folders, recursive=True):  # noqa: PTH207
        if Path(folder).is_dir():
            with failing(folder, "cannot be listed", InputError), os.scandir(folder):
                pass


def _match_remote(pattern: str) -> list[InputFile]:
    with failing(pattern, "cannot be listed", InputError):
        (result,) = filesystems(pattern).match([pattern])
    return [
        InputFile(found.path, found.size_in_bytes, found.last_updated_in_seconds)
        for found in result.metadata_list
        # A "folder" made in a bucket's console is an object of no bytes whose name ends in a slash.
        if not found.path.endswith("/") and ("/." in pattern or "/." not in found.path)
    ]


def content_ending(path: str) -> str:
    """Return the ending that tells the format: ``.csv`` of ``flights.csv.gz``, in lower case."""
    name = Path(path.lower())
    return Path(name.stem).suffix if name.suffix in ENDINGS else name.suffix


@contextlib.contextmanager
def open_input(file: InputFile, encoding: Encoding | None = None) -> Iterator[IO[bytes]]:
    """Open a file for reading its decompressed bytes, or its text as UTF-8.

    Args:
        file: The file.
        encoding: Of its text; where it is None or ``utf-8``, the bytes are read as they are.

    Raises:
        InputError: Now or while reading: it cannot be read, its compressed data is broken, or its
            beginning is of another encoding.
    """
    path = file.path
    with failing(path, "cannot be read", InputError), _open_raw(path) as raw:
        stream = decompressed(raw, file.compression_ending) if file.is_compressed else raw
        if encoding and encoding != "utf-8":
            stream = transcoded(stream, encoding, path)
        yield stream


def read_after(stream: IO[bytes], rest: bytes | bytearray, size: int) -> bytearray:
    """Return bytes that were read before, and those that follow in a stream.

    They are read to where they are used: of blocks of this size, a copy more is felt.

    Args:
        stream: The stream.
        rest: What was read before.
        size: How much to read; less comes at the end of the stream only.
    """
    data = bytearray(len(rest) + size)
    data[: len(rest)] = rest
    filled = len(rest)
    with memoryview(data) as view:
        while filled < len(data):
            found = cast("io.BufferedReader", stream).readinto(view[filled:])
            if not found:
                break
            filled += found
    del data[filled:]
    return data


def _open_raw(path: str) -> IO[bytes]:
    if not is_remote(path):
        return Path(path).open("rb")
    from apache_beam.io.filesystem import CompressionTypes

    stream = filesystems(path).open(path, compression_type=CompressionTypes.UNCOMPRESSED)
    return cast("IO[bytes]", stream)


def local_copy(path: str, copy: str) -> str:
    """Return a local path with what is at a path: itself, or of a URL a copy.

    Args:
        path: Of a file that is not compressed.
        copy: Where the copy goes.

    Raises:
        InputError: It cannot be read.
    """
    if not is_remote(path):
        return path
    with open_input(InputFile(path, 0)) as source, Path(copy).open("wb") as target:
        shutil.copyfileobj(source, target, _COPY_BUFFER_BYTES)
    return copy
