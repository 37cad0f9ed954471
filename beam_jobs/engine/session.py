"""DuckDB sessions that may run a user's SQL: no files but the named ones, no extensions."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import duckdb

from beam_jobs.engine.memory import shown, this_machine

_SETTINGS: Mapping[str, str | bool | int] = MappingProxyType(
    {
        "threads": 1,
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        # HUGEINT, UUID, BIT and TIMETZ have no Arrow type of the same range: keep them as they are.
        "arrow_lossless_conversion": True,
        # Each byte of a file is read once: kept, it would only take memory.
        "enable_external_file_cache": False,
        # Errors as JSON carry the position in the query.
        "errors_as_json": True,
    }
)


def quote_text(text: str) -> str:
    """Return `text` as a SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


def quote_name(name: str) -> str:
    """Return `name` as a SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def memory_limit() -> str:
    """How much memory a session on this machine may take."""
    return shown(this_machine().session_memory)


def open_session(
    scratch: str | None = None, files: Sequence[str] = ()
) -> duckdb.DuckDBPyConnection:
    """Open an in-memory DuckDB that is locked before any user's SQL can reach it.

    One thread: Beam runs one session per worker thread, and a single thread sees the rows in file
    order, which keeps ``first``, ``list`` and their like deterministic. What is more than the
    session's share of the machine's memory spills to its scratch folder.

    Args:
        scratch: The only folder whose files the session may reach, and to which it spills. Without
            it the session reaches no files there and fails when its memory is used up.
        files: Paths of the only other files that it may reach, and links in `scratch` to them.

    Returns:
        A connection whose settings can no longer be changed.
    """
    # Said while connecting, a setting costs nothing; one by one they cost 2 ms in all.
    of_place = {"memory_limit": memory_limit(), "temp_directory": scratch or ""}
    connection = duckdb.connect(":memory:", config={**_SETTINGS, **of_place})
    folders = quote_text(scratch) if scratch else ""
    # DuckDB follows links before it looks whether a path is allowed.
    paths = ", ".join(quote_text(os.path.realpath(path)) for path in files)
    connection.execute(
        # The footer of a Parquet file is parsed once, and not by each query.
        "SET parquet_metadata_cache = true; "
        "SET TimeZone = 'UTC'; "
        f"SET allowed_directories = [{folders}]; "
        f"SET allowed_paths = [{paths}]; "
        "SET enable_external_access = false; "
        "SET lock_configuration = true"
    )
    return connection
