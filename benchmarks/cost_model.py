"""Prints the table of docs/operate.md: what a day of a dataset takes and costs on Dataflow.

    python -m benchmarks.cost_model

An estimate from measured CPU time and the assumptions below; no job ran on Dataflow for it.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.places import ROOT

sys.path.append(str(ROOT / "plugins"))  # as Airflow does
from tallyflow.dataflow_prices import PRICES

# A worker as the settings have it by default: n2-standard-4.
VCPUS, MEMORY_GB, DISK_GB = 4, 16, 50
START_HOURS = 3 / 60  # machines start, and install or load what they need: 2 to 4 minutes, paid for
BUSY = 0.6  # of the processors' time after that: the rest waits for storage, shuffles, stragglers
WORK_HOURS = 0.5  # as many workers as are done in that time, were there no bound
MOST_WORKERS = 100
SHARE_GB = 0.25  # what leaves one set of states
REGION = "us-central1"
DAYS_GB = (1, 100, 10_000)


@dataclass(frozen=True)
class Measured:
    """CPU time of TPC-H Q1 over lineitem, for a gigabyte of the files as they are stored.

    Attributes:
        seconds: Without a profile.
        profiled: With one, of all 16 columns.
    """

    seconds: float
    profiled: float


MEASURED = {
    "csv": Measured(4.7, 24.8),
    "csv.gz": Measured(24.1, 83.4),
    "jsonl": Measured(5.1, 19.0),
    "parquet": Measured(2.0, 45.4),
}
# States of a share: of a few groups, and of the profile of 16 columns.
STATES_GB, PROFILE_GB = 8e-6, 350e-6


@dataclass(frozen=True)
class Day:
    """What a day takes: workers, the hours that they run, what is shuffled, and the price."""

    cpu_hours: float
    workers: int
    hours: float
    shuffled_gb: float

    @property
    def price(self) -> float:
        """By the list prices."""
        prices, paid = PRICES[REGION], self.workers * self.hours
        worker = VCPUS * prices.vcpu_hour + MEMORY_GB * prices.memory_gb_hour
        return (
            paid * (worker + DISK_GB * prices.disk_gb_hour) + self.shuffled_gb * prices.shuffle_gb
        )


def day(seconds: float, gigabytes: float, states_gb: float) -> Day:
    """Estimate a day of so many gigabytes, at so many CPU seconds for each."""
    cpu_hours = seconds * gigabytes / 3600
    paid_hours = cpu_hours / BUSY / VCPUS
    workers = min(MOST_WORKERS, max(1, math.ceil(paid_hours / WORK_HOURS)))
    shuffled = math.ceil(gigabytes / SHARE_GB) * states_gb
    return Day(cpu_hours, workers, START_HOURS + paid_hours / workers, shuffled)


def table() -> Iterator[str]:
    """Yield the lines of the table."""
    yield (
        "| a day | format | CPU h | workers | minutes | vCPU h | GB h of memory | shuffled GB "
        "| USD | USD, `profile: false` |"
    )
    yield "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|"
    for gigabytes in DAYS_GB:
        for name, measured in MEASURED.items():
            one = day(measured.profiled, gigabytes, STATES_GB + PROFILE_GB)
            plain = day(measured.seconds, gigabytes, STATES_GB)
            paid = one.workers * one.hours
            yield (
                f"| {gigabytes:,} GB | {name} | {one.cpu_hours:,.2f} | {one.workers} "
                f"| {60 * one.hours:,.0f} | {VCPUS * paid:,.1f} | {MEMORY_GB * paid:,.1f} "
                f"| {one.shuffled_gb:,.3f} | {one.price:,.2f} | {plain.price:,.2f} |"
            )


if __name__ == "__main__":
    sys.stdout.write("\n".join(table()) + "\n")
