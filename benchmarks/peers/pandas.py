"""pandas: the files as one frame, read by pyarrow where pandas has it."""

from __future__ import annotations

import glob
import sys
from collections.abc import Sequence

import pandas as pd
import pyarrow as pa
from pyarrow import parquet as pq

DAY = "l_shipdate"
FLAGS = ["l_returnflag", "l_linestatus"]
NUMBERS = ["l_quantity", "l_extendedprice", "l_discount", "l_tax"]


def read(pattern: str, columns: Sequence[str]) -> pd.DataFrame:
    """Return the files' rows as one frame of these columns."""
    return pd.concat(
        (read_file(path, columns) for path in sorted(glob.glob(pattern))),  # noqa: PTH207
        ignore_index=True,
    )


def read_file(path: str, columns: Sequence[str]) -> pd.DataFrame:
    """Return a file's rows; decimals as floats, since pandas has them as Python's objects."""
    if path.endswith(".parquet"):
        table = pq.read_table(path, columns=list(columns))
        frame = table.cast(pa.schema([(f.name, plain(f.type)) for f in table.schema])).to_pandas()
    elif path.endswith(".jsonl"):
        frame = pd.read_json(path, lines=True, engine="pyarrow")[list(columns)]
    else:
        frame = pd.read_csv(path, usecols=list(columns), engine="pyarrow", na_values=["NA"])
    return frame.astype({DAY: "datetime64[s]"}) if DAY in frame else frame


def plain(kind: pa.DataType) -> pa.DataType:
    """Return the type that pandas computes with natively."""
    if pa.types.is_decimal(kind):
        return pa.float64()
    return pa.large_string() if pa.types.is_string_view(kind) else kind


def tpch_q1(path: str) -> pd.DataFrame:
    """TPC-H Q1."""
    rows = read(path, [*FLAGS, *NUMBERS, DAY])
    rows = rows[rows[DAY] <= "1998-09-02"]
    price = rows.l_extendedprice * (1 - rows.l_discount)
    return (
        rows.assign(price=price, charge=price * (1 + rows.l_tax))
        .groupby(FLAGS, as_index=False)
        .agg(
            sum_qty=("l_quantity", "sum"),
            sum_base_price=("l_extendedprice", "sum"),
            sum_disc_price=("price", "sum"),
            sum_charge=("charge", "sum"),
            avg_qty=("l_quantity", "mean"),
            avg_price=("l_extendedprice", "mean"),
            avg_disc=("l_discount", "mean"),
            count_order=("l_quantity", "size"),
        )
    )


def tpch_q6(path: str) -> pd.DataFrame:
    """TPC-H Q6."""
    rows = read(path, ["l_quantity", "l_extendedprice", "l_discount", DAY])
    rows = rows[
        (rows[DAY] >= "1994-01-01")
        & (rows[DAY] < "1995-01-01")
        & rows.l_discount.between(0.05, 0.07)
        & (rows.l_quantity < 24)
    ]
    return pd.DataFrame({"revenue": [(rows.l_extendedprice * rows.l_discount).sum()]})


def by_key(path: str, key: str) -> pd.DataFrame:
    """Many groups."""
    rows = read(path, [key, "l_quantity", "l_extendedprice"])
    return rows.groupby(key, as_index=False).agg(
        lines=("l_quantity", "size"),
        quantity=("l_quantity", "sum"),
        price=("l_extendedprice", "sum"),
    )


def stations(path: str) -> pd.DataFrame:
    """Least, mean and greatest temperature by station."""
    names = ["station", "temperature"]
    rows = pd.read_csv(path, sep=";", header=None, names=names, engine="pyarrow")
    return rows.groupby("station", as_index=False).agg(
        readings=("temperature", "size"),
        lowest=("temperature", "min"),
        mean=("temperature", "mean"),
        highest=("temperature", "max"),
    )


def flights(path: str) -> pd.DataFrame:
    """Flights and delays by airport."""
    rows = read(path, ["origin", "dep_delay"])
    return rows.groupby("origin", as_index=False).agg(
        flights=("origin", "size"), delay=("dep_delay", "mean"), longest=("dep_delay", "max")
    )


WORKS = {
    "tpch_q1": tpch_q1,
    "tpch_q6": tpch_q6,
    "by_orderkey": lambda path: by_key(path, "l_orderkey"),
    "by_partkey": lambda path: by_key(path, "l_partkey"),
    "stations": stations,
    "flights": flights,
}

work, pattern, output = sys.argv[1:]
answer = WORKS[work](pattern)
if output.endswith(".parquet"):
    answer.to_parquet(output)
else:
    answer.to_csv(output, index=False)
