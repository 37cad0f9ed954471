"""Polars: lazy frames, streaming engine."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import date

import polars as pl
from polars import LazyFrame, col

from benchmarks.works import FLIGHTS, LINEITEM, STATIONS

TYPES = {"BIGINT": pl.Int64, "DOUBLE": pl.Float64, "STRING": pl.String, "DATE": pl.Date}


def schema(columns: Mapping[str, str]) -> pl.Schema:
    """Return columns with Polars' types."""
    return pl.Schema({name: TYPES[kind] for name, kind in columns.items()})


def scan(path: str) -> LazyFrame:
    """Return the files' rows; decimals as floats, since Polars rounds products of decimals."""
    if path.endswith(".parquet"):
        return pl.scan_parquet(path).with_columns(pl.selectors.decimal().cast(pl.Float64))
    if path.endswith(".jsonl"):
        return pl.scan_ndjson(path, schema=schema(LINEITEM))
    return pl.scan_csv(path, schema=schema(LINEITEM))


def tpch_q1(path: str) -> LazyFrame:
    """TPC-H Q1."""
    price = col("l_extendedprice") * (1 - col("l_discount"))
    return (
        scan(path)
        .filter(col("l_shipdate") <= date(1998, 9, 2))
        .group_by("l_returnflag", "l_linestatus")
        .agg(
            sum_qty=col("l_quantity").sum(),
            sum_base_price=col("l_extendedprice").sum(),
            sum_disc_price=price.sum(),
            sum_charge=(price * (1 + col("l_tax"))).sum(),
            avg_qty=col("l_quantity").mean(),
            avg_price=col("l_extendedprice").mean(),
            avg_disc=col("l_discount").mean(),
            count_order=pl.len(),
        )
    )


def tpch_q6(path: str) -> LazyFrame:
    """TPC-H Q6."""
    return (
        scan(path)
        .filter(
            col("l_shipdate") >= date(1994, 1, 1),
            col("l_shipdate") < date(1995, 1, 1),
            col("l_discount").is_between(0.05, 0.07),
            col("l_quantity") < 24,
        )
        .select(revenue=(col("l_extendedprice") * col("l_discount")).sum())
    )


def by_key(path: str, key: str) -> LazyFrame:
    """Many groups."""
    return (
        scan(path)
        .group_by(key)
        .agg(
            lines=pl.len(),
            quantity=col("l_quantity").sum(),
            price=col("l_extendedprice").sum(),
        )
    )


def stations(path: str) -> LazyFrame:
    """Least, mean and greatest temperature by station."""
    temperature = col("temperature")
    return (
        pl.scan_csv(path, separator=";", has_header=False, schema=schema(STATIONS))
        .group_by("station")
        .agg(
            readings=pl.len(),
            lowest=temperature.min(),
            mean=temperature.mean(),
            highest=temperature.max(),
        )
    )


def flights(path: str) -> LazyFrame:
    """Flights and delays by airport."""
    delay = col("dep_delay")
    return (
        pl.scan_csv(path, schema=schema(FLIGHTS), null_values=["NA"])
        .group_by("origin")
        .agg(flights=pl.len(), delay=delay.mean(), longest=delay.max())
    )


def count_lines(path: str) -> LazyFrame:
    """Count the lines."""
    return pl.scan_lines(path).select(lines=pl.len())


WORKS = {
    "tpch_q1": tpch_q1,
    "tpch_q6": tpch_q6,
    "by_orderkey": lambda path: by_key(path, "l_orderkey"),
    "by_partkey": lambda path: by_key(path, "l_partkey"),
    "stations": stations,
    "flights": flights,
    "count_lines": count_lines,
}

work, pattern, output = sys.argv[1:]
frame = WORKS[work](pattern)
if output.endswith(".parquet"):
    frame.sink_parquet(output)
else:
    frame.collect(engine="streaming").write_csv(output)
