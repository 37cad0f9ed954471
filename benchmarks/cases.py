"""What is measured: the cases, each a work over a set of files, with the peers that do it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

# Above this scale these would take from ten minutes to hours, or more memory than a laptop has.
_FAST = math.inf
_SLOW = 1
_SLOWEST = 0.1

_ALL = {"duckdb": _FAST, "polars": _FAST, "pandas": _SLOW, "pyspark": _SLOW, "beam": _SLOW}


@dataclass(frozen=True)
class Case:
    """A work over a set of files.

    Attributes:
        name: In CASES.
        title: In the tables.
        work: A name in `works.WORKS`.
        data: A name in `data.MAKERS`.
        peers: The greatest scale at which each peer does it.
        options: Of our command line.
        answer: Ending of the answer's file.
        most_scale: The scale at which the files have their full size.
    """

    name: str
    title: str
    work: str
    data: str
    peers: Mapping[str, float] = field(default_factory=lambda: dict(_ALL))
    options: tuple[str, ...] = ()
    answer: str = ".csv"
    most_scale: float = math.inf


CASES = (
    Case(
        "start",
        "Start: count the line of a file of one line",
        "count_lines",
        "one_line.txt",
        {"duckdb": _FAST, "polars": _FAST, "pyspark": _FAST, "beam": _FAST},
        most_scale=1,
    ),
    *(
        Case(f"tpch_{query}_{ending}", f"TPC-H {query.upper()} over {title}", f"tpch_{query}", data)
        for ending, title, data in (
            ("csv", "CSV", "lineitem.csv"),
            ("parquet", "Parquet", "lineitem.parquet"),
            ("jsonl", "JSON lines", "lineitem.jsonl"),
        )
        for query in ("q1", "q6")
    ),
    *(
        Case(
            f"tpch_{query}_avro",
            f"TPC-H {query.upper()} over Avro",
            f"tpch_{query}",
            "lineitem.avro",
            {"beam": _SLOW},
            most_scale=1,
        )
        for query in ("q1", "q6")
    ),
    Case(
        "by_orderkey",
        "Group CSV by l_orderkey into Parquet (1.5 million groups × scale)",
        "by_orderkey",
        "lineitem.csv",
        answer=".parquet",
    ),
    Case(
        "by_partkey",
        "Group CSV by l_partkey into Parquet (0.2 million groups × scale, each all over the file)",
        "by_partkey",
        "lineitem.csv",
        answer=".parquet",
    ),
    Case(
        "stations",
        "Least, mean and greatest temperature of 413 stations (100 million rows at scale 1)",
        "stations",
        "stations.csv",
        {**_ALL, "beam": _SLOWEST},
        (
            *("--delimiter", ";", "--header", "false"),
            *("--columns", "station VARCHAR, temperature DOUBLE"),
        ),
        most_scale=1,
    ),
    Case(
        "small_files",
        "TPC-H Q1 over small CSV files of 77 kB (10,000 at scale 1)",
        "tpch_q1",
        "small",
        most_scale=1,
    ),
    Case(
        "count_lines",
        "Count lines (3 GB at scale 1)",
        "count_lines",
        "lines.txt",
        {"wc": _FAST, "duckdb": _FAST, "polars": _FAST, "pyspark": _FAST, "beam": _SLOWEST},
        most_scale=1,
    ),
    Case(
        "flights",
        "Flights and delays by airport (365 CSV files)",
        "flights",
        "flights",
        options=("--null_strings", "NA"),
        most_scale=1,
    ),
)
BY_NAME: Mapping[str, Case] = {case.name: case for case in CASES}
