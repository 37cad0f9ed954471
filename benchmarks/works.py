"""What is computed: each work once as SQL, which Tallyflow, DuckDB and Spark run as it stands.

And the columns of the files with their types, which the peers are told: finding them out in each of
10,000 small files takes DuckDB and Polars several times as long as the work.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Work:
    """A query, and what is compared of its answers.

    Attributes:
        query: SQL over the table ``input``.
        keys: Columns that name a row of the answer.
        values: The other columns.
    """

    query: str
    keys: tuple[str, ...]
    values: tuple[str, ...]


LINEITEM: Mapping[str, str] = MappingProxyType(
    {
        "l_orderkey": "BIGINT",
        "l_partkey": "BIGINT",
        "l_suppkey": "BIGINT",
        "l_linenumber": "BIGINT",
        "l_quantity": "DOUBLE",
        "l_extendedprice": "DOUBLE",
        "l_discount": "DOUBLE",
        "l_tax": "DOUBLE",
        "l_returnflag": "STRING",
        "l_linestatus": "STRING",
        "l_shipdate": "DATE",
        "l_commitdate": "DATE",
        "l_receiptdate": "DATE",
        "l_shipinstruct": "STRING",
        "l_shipmode": "STRING",
        "l_comment": "STRING",
    }
)
FLIGHTS: Mapping[str, str] = MappingProxyType(
    dict.fromkeys(["year", "month", "day"], "BIGINT")
    | dict.fromkeys(["dep_time", "sched_dep_time", "dep_delay"], "DOUBLE")
    | dict.fromkeys(["arr_time", "sched_arr_time", "arr_delay"], "DOUBLE")
    | {"carrier": "STRING", "flight": "BIGINT", "tailnum": "STRING"}
    | {"origin": "STRING", "dest": "STRING", "air_time": "DOUBLE", "distance": "DOUBLE"}
    | {"hour": "DOUBLE", "minute": "DOUBLE", "time_hour": "STRING"}
)
STATIONS: Mapping[str, str] = MappingProxyType({"station": "STRING", "temperature": "DOUBLE"})


def _by_key(key: str) -> Work:
    return Work(
        f"""
            SELECT {key}, count(*) AS lines, sum(l_quantity) AS quantity,
                   sum(l_extendedprice) AS price
            FROM input GROUP BY {key}""",
        (key,),
        ("lines", "quantity", "price"),
    )


WORKS: Mapping[str, Work] = MappingProxyType(
    {
        "tpch_q1": Work(
            """
            SELECT l_returnflag, l_linestatus,
                   sum(l_quantity) AS sum_qty,
                   sum(l_extendedprice) AS sum_base_price,
                   sum(l_extendedprice * (1 - l_discount)) AS sum_disc_price,
                   sum(l_extendedprice * (1 - l_discount) * (1 + l_tax)) AS sum_charge,
                   avg(l_quantity) AS avg_qty,
                   avg(l_extendedprice) AS avg_price,
                   avg(l_discount) AS avg_disc,
                   count(*) AS count_order
            FROM input
            WHERE l_shipdate <= DATE '1998-09-02'
            GROUP BY l_returnflag, l_linestatus""",
            ("l_returnflag", "l_linestatus"),
            (
                *("sum_qty", "sum_base_price", "sum_disc_price", "sum_charge"),
                *("avg_qty", "avg_price", "avg_disc", "count_order"),
            ),
        ),
        "tpch_q6": Work(
            """
            SELECT sum(l_extendedprice * l_discount) AS revenue
            FROM input
            WHERE l_shipdate >= DATE '1994-01-01' AND l_shipdate < DATE '1995-01-01'
              AND l_discount BETWEEN 0.05 AND 0.07 AND l_quantity < 24""",
            (),
            ("revenue",),
        ),
        "by_orderkey": _by_key("l_orderkey"),
        "by_partkey": _by_key("l_partkey"),
        "stations": Work(
            """
            SELECT station, count(*) AS readings, min(temperature) AS lowest,
                   avg(temperature) AS mean, max(temperature) AS highest
            FROM input GROUP BY station""",
            ("station",),
            ("readings", "lowest", "mean", "highest"),
        ),
        "flights": Work(
            """
            SELECT origin, count(*) AS flights, avg(dep_delay) AS delay, max(dep_delay) AS longest
            FROM input GROUP BY origin""",
            ("origin",),
            ("flights", "delay", "longest"),
        ),
        # Tallyflow has a job for this; its answer also holds files and bytes.
        "count_lines": Work("SELECT count(*) AS lines FROM input", (), ("lines",)),
    }
)
