"""Idiomatic Beam: its own sources, a Python function per row, CombinePerKey."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.io import ReadFromAvro, ReadFromParquet, ReadFromText, WriteToParquet
from apache_beam.options.pipeline_options import PipelineOptions

from benchmarks.works import FLIGHTS, LINEITEM

RUNNER = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"
SUMS: list[pa.Field[Any]] = [
    pa.field("lines", pa.int64()),
    pa.field("quantity", pa.float64()),
    pa.field("price", pa.float64()),
]

Row = dict[str, Any]
Pair = tuple[Any, tuple[float, ...]]


class Sums(beam.CombineFn):
    """Sums of each place of a tuple."""

    def create_accumulator(self) -> tuple[float, ...]:
        return ()

    def add_input(self, sums: tuple[float, ...], values: tuple[float, ...]) -> tuple[float, ...]:
        return tuple(map(float.__add__, sums, values)) if sums else values

    def merge_accumulators(self, parts: Iterable[tuple[float, ...]]) -> tuple[float, ...]:
        parts = [part for part in parts if part]
        return tuple(map(sum, zip(*parts, strict=True)))

    def extract_output(self, sums: tuple[float, ...]) -> tuple[float, ...]:
        return sums


class Summary(beam.CombineFn):
    """Count, least, sum and greatest of the values that are there."""

    def create_accumulator(self) -> tuple[int, int, float, float, float]:
        return 0, 0, float("inf"), 0.0, float("-inf")

    def add_input(self, state: tuple[int, int, float, float, float], value: float | None) -> Any:
        rows, count, least, total, greatest = state
        if value is None:
            return rows + 1, count, least, total, greatest
        return rows + 1, count + 1, min(least, value), total + value, max(greatest, value)

    def merge_accumulators(self, states: Iterable[tuple[int, int, float, float, float]]) -> Any:
        rows, counts, least, totals, greatest = zip(*states, strict=True)
        return sum(rows), sum(counts), min(least), sum(totals), max(greatest)

    def extract_output(self, state: tuple[int, int, float, float, float]) -> Any:
        return state


def read(path: str, names: Iterable[str], columns: list[str]) -> beam.PTransform:
    """Return a source of rows as dictionaries.

    Args:
        path: Of the files.
        names: Of the columns of a CSV file.
        columns: The ones to read of a Parquet file.
    """
    names = tuple(names)
    if path.endswith(".parquet"):
        return ReadFromParquet(path, columns=columns)
    if path.endswith(".avro"):
        return ReadFromAvro(path)
    if path.endswith(".jsonl"):
        return "read" >> ReadFromText(path) | beam.Map(json.loads)
    return "read" >> ReadFromText(path, skip_header_lines=1) | beam.Map(
        lambda line: dict(zip(names, next(csv.reader([line])), strict=False))
    )


def q1_pairs(row: Row) -> Iterator[Pair]:
    """The values that TPC-H Q1 sums, by its key."""
    if str(row["l_shipdate"]) <= "1998-09-02":
        price, discount = float(row["l_extendedprice"]), float(row["l_discount"])
        quantity, reduced = float(row["l_quantity"]), price * (1 - discount)
        charge = reduced * (1 + float(row["l_tax"]))
        key = row["l_returnflag"], row["l_linestatus"]
        yield key, (quantity, price, reduced, charge, discount, 1.0)


def q1_row(pair: Pair) -> Row:
    """A row of the answer of TPC-H Q1."""
    (flag, status), (quantity, price, reduced, charge, discount, count) = pair
    return {
        "l_returnflag": flag,
        "l_linestatus": status,
        "sum_qty": quantity,
        "sum_base_price": price,
        "sum_disc_price": reduced,
        "sum_charge": charge,
        "avg_qty": quantity / count,
        "avg_price": price / count,
        "avg_disc": discount / count,
        "count_order": int(count),
    }


def q6_values(row: Row) -> Iterator[float]:
    """The values that TPC-H Q6 sums."""
    discount = float(row["l_discount"])
    if (
        "1994-01-01" <= str(row["l_shipdate"]) < "1995-01-01"
        and 0.05 <= discount <= 0.07
        and float(row["l_quantity"]) < 24
    ):
        yield float(row["l_extendedprice"]) * discount


def write(output: str) -> Callable[[list[Row]], None]:
    """Return a function that writes the rows of an answer."""

    def write_rows(rows: list[Row]) -> None:
        with Path(output).open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)

    return write_rows


def tpch_q1(path: str) -> beam.PTransform:
    """TPC-H Q1."""
    columns = ["l_quantity", "l_extendedprice", "l_discount", "l_tax"]
    columns += ["l_returnflag", "l_linestatus", "l_shipdate"]
    return (
        read(path, LINEITEM, columns)
        | beam.FlatMap(q1_pairs)
        | beam.CombinePerKey(Sums())
        | "row" >> beam.Map(q1_row)
    )


def tpch_q6(path: str) -> beam.PTransform:
    """TPC-H Q6."""
    columns = ["l_quantity", "l_extendedprice", "l_discount", "l_shipdate"]
    return (
        read(path, LINEITEM, columns)
        | beam.FlatMap(q6_values)
        | beam.CombineGlobally(sum)
        | "row" >> beam.Map(lambda revenue: {"revenue": revenue})
    )


def by_key(path: str, key: str) -> beam.PTransform:
    """Many groups."""
    return (
        read(path, LINEITEM, [key, "l_quantity", "l_extendedprice"])
        | "pair"
        >> beam.Map(
            lambda row: (
                int(row[key]),
                (1.0, float(row["l_quantity"]), float(row["l_extendedprice"])),
            )
        )
        | beam.CombinePerKey(Sums())
        | "row"
        >> beam.MapTuple(
            lambda value, sums: {
                key: value,
                "lines": int(sums[0]),
                "quantity": sums[1],
                "price": sums[2],
            }
        )
    )


def stations(path: str) -> beam.PTransform:
    """Least, mean and greatest temperature by station."""

    def pair(line: str) -> tuple[str, float]:
        station, temperature = line.split(";")
        return station, float(temperature)

    return (
        ReadFromText(path)
        | "pair" >> beam.Map(pair)
        | beam.CombinePerKey(Summary())
        | "row"
        >> beam.MapTuple(
            lambda station, state: {
                "station": station,
                "readings": state[0],
                "lowest": state[2],
                "mean": state[3] / state[1],
                "highest": state[4],
            }
        )
    )


def flights(path: str) -> beam.PTransform:
    """Flights and delays by airport."""
    return (
        read(path, FLIGHTS, [])
        | "pair"
        >> beam.Map(
            lambda row: (
                row["origin"],
                None if row["dep_delay"] == "NA" else float(row["dep_delay"]),
            )
        )
        | beam.CombinePerKey(Summary())
        | "row"
        >> beam.MapTuple(
            lambda origin, state: {
                "origin": origin,
                "flights": state[0],
                "delay": state[3] / state[1],
                "longest": state[4],
            }
        )
    )


def count_lines(path: str) -> beam.PTransform:
    """Count the lines."""
    return (
        ReadFromText(path)
        | beam.combiners.Count.Globally()
        | "row" >> beam.Map(lambda lines: {"lines": lines})
    )


WORKS: dict[str, Callable[[str], beam.PTransform]] = {
    "tpch_q1": tpch_q1,
    "tpch_q6": tpch_q6,
    "by_orderkey": lambda path: by_key(path, "l_orderkey"),
    "by_partkey": lambda path: by_key(path, "l_partkey"),
    "stations": stations,
    "flights": flights,
    "count_lines": count_lines,
}


def main(work: str, path: str, output: str) -> None:
    """Run a work."""
    with beam.Pipeline(options=PipelineOptions(runner=RUNNER)) as pipeline:
        rows = pipeline | WORKS[work](path)
        if output.endswith(".parquet"):
            key = pa.field(f"l_{work.removeprefix('by_')}", pa.int64())
            rows | WriteToParquet(output, pa.schema([key, *SUMS]), shard_name_template="")
        else:
            rows | beam.combiners.ToList() | "write" >> beam.Map(write(output))


main(*sys.argv[1:])
