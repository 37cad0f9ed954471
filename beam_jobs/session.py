"""DuckDB sessions that may run a user's SQL: no files but the named ones, no extensions."""

from __future__ import annotations

from collections.abc import Sequence

import duckdb

# Beyond this a session spills to its scratch folder.
MEMORY_LIMIT = "2GB"


def quote_text(text: str) -> str:
    """Return `text` as a SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


def quote_name(name: str) -> str:
    """Return `name` as a SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def open_session(
    readable: Sequence[str] = (), scratch: str | None = None
) -> duckdb.DuckDBPyConnection:
    """Open an in-memory DuckDB that is locked before any user's SQL can reach it.

    One thread: Beam runs one session per worker thread, and a single thread sees the rows in file
    order, which keeps ``first``, ``list`` and their like deterministic.

    Args:
        readable: The only files the session may read.
        scratch: Folder for spilling; without it the session fails when its memory is used up.

    Returns:
        A connection whose settings can no longer be changed.
    """
    connection = duckdb.connect(":memory:")
    paths = ", ".join(quote_text(path) for path in readable)
    for setting in (
        "threads = 1",
        f"memory_limit = {quote_text(MEMORY_LIMIT)}",
        f"temp_directory = {quote_text(scratch or '')}",
        "autoinstall_known_extensions = false",
        "autoload_known_extensions = false",
        "TimeZone = 'UTC'",
        # HUGEINT, UUID, BIT and TIMETZ have no Arrow type of the same range: keep them as they are.
        "arrow_lossless_conversion = true",
        "enable_progress_bar = false",
        # Errors as JSON carry the position in the query.
        "errors_as_json = true",
        f"allowed_paths = [{paths}]",
        "enable_external_access = false",
        "lock_configuration = true",
    ):
        connection.execute(f"SET {setting}")
    return connection
