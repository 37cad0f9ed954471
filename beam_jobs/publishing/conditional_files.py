"""Small files that are replaced only if nobody else did: on local disk and in Cloud Storage.

What `beam_jobs.files` has no way to do, as Beam's filesystems have none. Beam is not imported here.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import os
import re
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from beam_jobs.errors import TallyflowError, UsageError
from beam_jobs.filesystems import is_remote

_SCHEME = "gs://"
# Of requests to Cloud Storage; its client keeps ten connections.
_AT_ONCE = 10
# How the message of an error of Cloud Storage begins; the path says as much.
_REQUEST = re.compile(r"(?<=^\d{3}) \w+ https?://\S+(?=: )")
_GOOGLE = ("google", "requests", "urllib3")


class Stored(NamedTuple):
    """A file as it was read.

    Attributes:
        data: What is in it.
        token: Stands for this version of the file, where it is replaced.
    """

    data: bytes
    token: str


class ChangedMeanwhileError(TallyflowError):
    """A file is not any more, or not yet, what it was when it was read. It was not replaced."""


class Store(Protocol):
    """Where files are kept. All paths are below the store's root, with ``/``."""

    def read(self, path: str) -> Stored | None:
        """Return a file; None if there is none."""

    def write(self, path: str, data: bytes) -> None:
        """Write a file, in one step for those who read it."""

    def replace(self, path: str, data: bytes, token: str | None) -> None:
        """Write a file in one step, if it still is what it was when it was read.

        Args:
            path: Of the file.
            data: What is to be in it.
            token: Of the version that may be replaced; None if there was no file.

        Raises:
            ChangedMeanwhileError: It is another one.
        """

    def find(self, folder: str) -> list[str]:
        """Return the paths of all files below a folder, in their order."""

    def match(self, pattern: str, first: str, before: str) -> list[str]:
        """Return the paths that match a pattern, in their order; by one listing.

        Args:
            pattern: A path with ``*``, which stands for any characters but ``/``.
            first: The first path that is wanted.
            before: The first path after those that are wanted.
        """

    def delete(self, folder: str, first: str) -> None:
        """Delete a folder with all that is in it; it need not be there.

        Args:
            folder: Which.
            first: Path of the file in it that is deleted before the others.
        """


def open_store(root: str) -> Store:
    """Return the store of a folder or of a ``gs://`` URL.

    Raises:
        UsageError: It is a URL of another scheme.
    """
    if not is_remote(root):
        return LocalStore(Path(root))
    if not root.startswith(_SCHEME):
        scheme = root.partition("://")[0]
        raise UsageError(
            f"{root}: partitions cannot be published to {scheme}://, which replaces no file under "
            "a condition that Tallyflow knows; use gs:// or a local folder"
        )
    bucket, _, prefix = root.removeprefix(_SCHEME).partition("/")
    return CloudStore(bucket, prefix.rstrip("/"))


@contextlib.contextmanager
def _failing(path: object, what: str) -> Iterator[None]:
    """Turn whatever a store raises into one line that names the path."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error).strip() or type(error).__name__
        raise TallyflowError(f"{path}: {what}: {reason.splitlines()[0]}") from error
    except Exception as error:
        if type(error).__module__.split(".")[0] not in _GOOGLE:
            raise
        reason = _REQUEST.sub("", str(error).strip()) or type(error).__name__
        raise TallyflowError(f"{path}: {what}: {reason.splitlines()[0]}") from error


@dataclass(frozen=True)
class LocalStore:
    """Files of a local folder. They are replaced under a lock, which ends with its process."""

    root: Path

    def read(self, path: str) -> Stored | None:
        """See `Store`."""
        file = self.root / path
        with _failing(file, "cannot be read"):
            try:
                data = file.read_bytes()
            except (FileNotFoundError, NotADirectoryError):
                return None
        return Stored(data, _digest(data))

    def write(self, path: str, data: bytes) -> None:
        """See `Store`."""
        file = self.root / path
        with _failing(file, "cannot be written"):
            file.parent.mkdir(parents=True, exist_ok=True)
            _put(file, data, f".{file.name}.{secrets.token_hex(8)}.part")

    def replace(self, path: str, data: bytes, token: str | None) -> None:
        """See `Store`."""
        file = self.root / path
        with _failing(file, "cannot be written"), _locked(file):
            found = self.read(path)
            if (found and found.token) != token:
                raise ChangedMeanwhileError(f"{file}: was changed meanwhile")
            # Always the same name: what a crash left there is overwritten.
            _put(file, data, f".{file.name}.part")

    def find(self, folder: str) -> list[str]:
        """See `Store`."""
        return sorted(
            str((parent / name).relative_to(self.root))
            for parent, _, names in self._walk(folder)
            for name in names
        )

    def match(self, pattern: str, first: str, before: str) -> list[str]:
        """See `Store`."""
        with _failing(self.root, "cannot be listed"):
            found = [str(path.relative_to(self.root)) for path in self.root.glob(pattern)]
        return sorted(path for path in found if first <= path < before)

    def delete(self, folder: str, first: str) -> None:
        """See `Store`."""
        if not (self.root / folder).is_dir():
            return
        with _failing(self.root / folder, "cannot be deleted"):
            (self.root / first).unlink(missing_ok=True)
            for parent, _, names in reversed(self._walk(folder)):
                for name in names:
                    (parent / name).unlink(missing_ok=True)
                with contextlib.suppress(FileNotFoundError):  # another process deletes it, too
                    parent.rmdir()

    def _walk(self, folder: str) -> list[tuple[Path, list[str], list[str]]]:
        """Return each folder below one, with the names in it; a folder before those in it."""

        def check(error: OSError) -> None:
            if not isinstance(error, FileNotFoundError):
                raise error

        with _failing(self.root / folder, "cannot be listed"):
            walked = os.walk(self.root / folder, onerror=check)
            return [(Path(parent), folders, names) for parent, folders, names in walked]


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@contextlib.contextmanager
def _locked(file: Path) -> Iterator[None]:
    """Hold the lock of a file, which is beside it and stays there."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with (file.parent / f".{file.name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _put(file: Path, data: bytes, name: str) -> None:
    """Replace a file by way of one of another name; it is on the disk when this returns."""
    beside = file.parent / name
    with beside.open("wb") as target:
        target.write(data)
        target.flush()
        os.fsync(target.fileno())
    beside.replace(file)
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@functools.lru_cache(maxsize=1)
def _client(_emulator: str | None, _process: int) -> Any:
    """Return the client of Cloud Storage: another one after a fork, which shares no connections.

    As Beam's: default credentials, and ``STORAGE_EMULATOR_HOST`` in place of Google's.
    """
    from google.cloud.storage import Client

    return Client(project=None)


@dataclass(frozen=True)
class CloudStore:
    """Objects of a bucket. They are replaced under the condition of their generation."""

    name: str
    prefix: str

    def read(self, path: str) -> Stored | None:
        """See `Store`."""
        from google.api_core.exceptions import NotFound, PreconditionFailed

        while True:
            with _failing(self._url(path), "cannot be read"):
                blob = self._bucket().get_blob(self._key(path))
                if blob is None:
                    return None
                try:
                    data = blob.download_as_bytes(if_generation_match=blob.generation)
                except (NotFound, PreconditionFailed):
                    continue  # It was replaced or deleted just now.
                return Stored(data, str(blob.generation))

    def write(self, path: str, data: bytes) -> None:
        """See `Store`."""
        with _failing(self._url(path), "cannot be written"):
            self._bucket().blob(self._key(path)).upload_from_string(data, "application/json")

    def replace(self, path: str, data: bytes, token: str | None) -> None:
        """See `Store`."""
        from google.api_core.exceptions import PreconditionFailed

        with _failing(self._url(path), "cannot be written"):
            try:
                self._bucket().blob(self._key(path)).upload_from_string(
                    data, "application/json", if_generation_match=int(token or 0)
                )
            except PreconditionFailed as error:
                raise ChangedMeanwhileError(f"{self._url(path)}: was changed meanwhile") from error

    def find(self, folder: str) -> list[str]:
        """See `Store`."""
        return self._found(f"{folder.rstrip('/')}/")

    def match(self, pattern: str, first: str, before: str) -> list[str]:
        """See `Store`."""
        return self._found(
            pattern.partition("*")[0],
            match_glob=self._key(pattern),
            start_offset=self._key(first),
            end_offset=self._key(before),
        )

    def _found(self, prefix: str, **conditions: str) -> list[str]:
        with _failing(self._url(prefix), "cannot be listed"):
            blobs = self._bucket().list_blobs(
                prefix=self._key(prefix), fields="items(name),nextPageToken", **conditions
            )
            return [blob.name.removeprefix(self._key("")) for blob in blobs]

    def delete(self, folder: str, first: str) -> None:
        """See `Store`."""
        self._delete(first)
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(self._delete, self.find(folder)))

    def _delete(self, path: str) -> None:
        from google.api_core.exceptions import NotFound

        with _failing(self._url(path), "cannot be deleted"), contextlib.suppress(NotFound):
            self._bucket().blob(self._key(path)).delete()

    def _bucket(self) -> Any:
        return _client(os.environ.get("STORAGE_EMULATOR_HOST"), os.getpid()).bucket(self.name)

    def _key(self, path: str) -> str:
        return f"{self.prefix}/{path}" if self.prefix else path

    def _url(self, path: str) -> str:
        return f"{_SCHEME}{self.name}/{self._key(path)}"
