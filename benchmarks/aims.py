"""What the benchmark is to show, as data, and the check of it against the medians."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from benchmarks.engines import OURS, TITLES
from benchmarks.measure import Measurement
from benchmarks.results import Result

Quantity = Literal["wall", "cpu", "memory"]
_GB = 10**9


@dataclass(frozen=True)
class Aim:
    """Ours is to be at most `times` the peer's plus `plus`.

    Attributes:
        case: Name of the case.
        scale: Where it is measured.
        quantity: What is compared.
        peer: With whom; None for a fixed limit.
        times: Factor of the peer's.
        plus: Seconds or bytes.
        without_start: Whether our time without the start is meant.
    """

    case: str
    scale: float
    quantity: Quantity
    peer: str | None = None
    times: float = 0
    plus: float = 0
    without_start: bool = False

    @property
    def text(self) -> str:
        """The aim in words."""
        what = {"wall": "wall time", "cpu": "CPU time", "memory": "peak memory"}[self.quantity]
        what += " without start" if self.without_start else ""
        if self.peer is None:
            return f"{what} at most {self.plus / _GB:g} GB"
        of = TITLES[self.peer]
        if self.times < 1:
            return f"{what} {1 / self.times:g} times less than {of}"
        times = "" if self.times == 1 else f"{self.times:g} × "
        return f"{what} at most {times}{of}" + (f" + {self.plus:g} s" if self.plus else "")


_QUERIES = ("q1", "q6")

AIMS = (
    *(
        aim
        for query in _QUERIES
        for aim in (
            Aim(f"tpch_{query}_csv", 10, "wall", "duckdb", 1),
            Aim(f"tpch_{query}_csv", 10, "wall", "polars", 1.25),
            Aim(f"tpch_{query}_parquet", 10, "wall", "duckdb", 1.3, 3),
            Aim(f"tpch_{query}_jsonl", 10, "wall", "duckdb", 1.2),
            *(
                Aim(f"tpch_{query}_{ending}", 1, "wall", "duckdb", 1, 4)
                for ending in ("csv", "parquet", "jsonl")
            ),
            Aim(f"tpch_{query}_csv", 1, "cpu", "beam", 1 / 12),
            Aim(f"tpch_{query}_csv", 10, "cpu", "beam", 1 / 22),
            Aim(f"tpch_{query}_parquet", 1, "cpu", "beam", 1 / 20),
            Aim(f"tpch_{query}_parquet", 10, "cpu", "beam", 1 / 80),
            *(
                Aim(f"tpch_{query}_{ending}", 1, "cpu", "pyspark", 1 / 7)
                for ending in ("csv", "parquet")
            ),
        )
    ),
    Aim("count_lines", 1, "wall", "wc", 2, without_start=True),
    Aim("small_files", 1, "wall", "duckdb", 2, 4),
    *(
        Aim(f"tpch_{query}_{ending}", 10, "memory", plus=_GB)
        for ending in ("csv", "parquet", "jsonl")
        for query in _QUERIES
    ),
    *(
        Aim(case, 1, "memory", plus=_GB)
        for case in ("tpch_q1_avro", "stations", "small_files", "count_lines")
    ),
    Aim("by_orderkey", 10, "memory", plus=4 * _GB),
)


@dataclass(frozen=True)
class Verdict:
    """Whether an aim is met.

    Attributes:
        aim: The aim.
        ours: What was measured; None if it was not.
        limit: What it may be; None if the peer was not measured.
        estimated: Whether the peer's is worked out from a smaller scale.
    """

    aim: Aim
    ours: float | None
    limit: float | None
    estimated: bool = False

    @property
    def met(self) -> bool | None:
        """None if it was not measured."""
        if self.ours is None or self.limit is None:
            return None
        return self.ours <= self.limit


def check(results: Iterable[Result]) -> list[Verdict]:
    """Check all aims against what was measured."""
    medians = {
        (result.case, result.scale, engine): row.median
        for result in results
        for engine, row in result.rows.items()
    }
    return [_check(aim, medians) for aim in AIMS]


Medians = Mapping[tuple[str, float, str], Measurement | None]


def _check(aim: Aim, medians: Medians) -> Verdict:
    ours = _value(medians.get((aim.case, aim.scale, OURS)), aim.quantity)
    if aim.without_start and ours is not None:
        start = _value(medians.get(("start", 1, OURS)), aim.quantity)
        ours = None if start is None else ours - start
    if aim.peer is None:
        return Verdict(aim, ours, aim.plus)
    theirs = _value(medians.get((aim.case, aim.scale, aim.peer)), aim.quantity)
    estimated = theirs is None
    if theirs is None:
        theirs = _estimate(aim, medians)
    limit = None if theirs is None else aim.times * theirs + aim.plus
    return Verdict(aim, ours, limit, estimated and limit is not None)


def _estimate(aim: Aim, medians: Medians) -> float | None:
    """Return what idiomatic Beam takes at a scale, worked out from what it takes at 1.

    After its start, its time grows with the rows. At scale 10 a run takes more than ten minutes.
    """
    if aim.peer != "beam":
        return None
    start = _value(medians.get(("start", 1, "beam")), aim.quantity)
    small = _value(medians.get((aim.case, 1, "beam")), aim.quantity)
    return None if start is None or small is None else start + aim.scale * (small - start)


def _value(measurement: Measurement | None, quantity: Quantity) -> float | None:
    return None if measurement is None else float(getattr(measurement, quantity))
