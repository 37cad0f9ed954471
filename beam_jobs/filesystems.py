"""Paths and URLs alike: Beam's filesystems, and what goes wrong in any of them."""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Iterator
from typing import Any

import zstandard

from beam_jobs.errors import TallyflowError, UsageError


def is_remote(path: str) -> bool:
    """Whether a path is a URL of a filesystem of Beam's, such as ``gs://bucket/object``."""
    return "://" in path


def join_path(folder: str, name: str) -> str:
    """Join a folder, local or remote, and a name."""
    return f"{folder.rstrip('/')}/{name}"


def filesystems(path: str) -> Any:
    """Return Beam's filesystems, the one of a path being known to them."""
    from apache_beam.io.filesystems import FileSystems

    try:
        FileSystems.get_filesystem(path)
    except ValueError as error:
        scheme = path.partition("://")[0]
        raise UsageError(f"{path}: no filesystem for {scheme}:// is installed") from error
    return FileSystems


@contextlib.contextmanager
def failing(path: str, what: str, kind: type[TallyflowError] = TallyflowError) -> Iterator[None]:
    """Turn whatever a filesystem or a decompressor raises into one line that names the path."""
    try:
        yield
    except TallyflowError:
        raise
    except EOFError as error:
        early = "the compressed data ends too early; is it truncated?"
        raise kind(f"{path}: {what}: {early}") from error
    except (OSError, zlib.error, zstandard.ZstdError) as error:
        raise kind(f"{path}: {what}: {_reason(error)}") from error
    except Exception as error:
        if type(error).__module__.split(".")[0] not in ("apache_beam", "google", "requests"):
            raise
        raise kind(f"{path}: {what}: {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    """Return the first line of what went wrong, within the errors that Beam wraps around it."""
    while details := getattr(error, "exception_details", None):
        error = next(iter(details.values()))
    reason = getattr(error, "strerror", None) or str(error).strip() or type(error).__name__
    return str(reason).splitlines()[0]
