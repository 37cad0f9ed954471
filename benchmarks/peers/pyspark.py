"""PySpark on all cores of this machine: the work's SQL over a view of the files."""

from __future__ import annotations

import csv
import sys
from collections.abc import Mapping
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import DecimalType

from benchmarks.works import FLIGHTS, LINEITEM, STATIONS, WORKS


def schema(columns: Mapping[str, str]) -> str:
    """Return columns as Spark is told them."""
    return ", ".join(f"{name} {kind}" for name, kind in columns.items())


def read(spark: SparkSession, work: str, path: str) -> DataFrame:
    """Return the files' rows; decimals as floats, since Spark rounds their mean."""
    if work == "count_lines":
        return spark.read.text(path)
    if work == "stations":
        return spark.read.csv(path, sep=";", schema=schema(STATIONS))
    if work == "flights":
        return spark.read.csv(path, header=True, nullValue="NA", schema=schema(FLIGHTS))
    if path.endswith(".jsonl"):
        return spark.read.schema(schema(LINEITEM)).json(path)
    if path.endswith(".csv"):
        return spark.read.csv(path, header=True, schema=schema(LINEITEM))
    rows = spark.read.parquet(path)
    decimals = [f.name for f in rows.schema.fields if isinstance(f.dataType, DecimalType)]
    return rows.withColumns({name: rows[name].cast("double") for name in decimals})


def main(work: str, path: str, output: str) -> None:
    """Run a work."""
    spark = (
        SparkSession.builder.master("local[*]")
        .config("spark.driver.memory", "4g")
        .config("spark.ui.enabled", "false")
        .config("spark.log.level", "ERROR")
        .getOrCreate()
    )
    read(spark, work, path).createOrReplaceTempView("input")
    answer = spark.sql(WORKS[work].query)
    if output.endswith(".parquet"):
        answer.write.parquet(output)
    else:
        with Path(output).open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(answer.columns)
            writer.writerows(answer.collect())
    spark.stop()


main(*sys.argv[1:])
