"""What Dataflow costs by its list prices: a small table, for estimates.

The prices are those of the public price page, https://cloud.google.com/dataflow/pricing, for batch
jobs, in US dollars, on 8 September 2026. They were taken from public lists that copy that page (of
SSDs from one without a date), and not from the page itself: compare them with it before you rely on
them.

To add a region, or to bring one up to date, copy its numbers from that page, and put the day on
which you did so beside them. A region that is not here has no estimate: each has its own prices.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass

CURRENCY = "USD"


@dataclass(frozen=True)
class Prices:
    """The list prices of one region. A gigabyte has 2^30 bytes.

    Attributes:
        as_of: When they held.
        vcpu_hour: Of a vCPU for an hour.
        memory_gb_hour: Of a gigabyte of memory for an hour.
        flexrs_vcpu_hour: As `vcpu_hour`, with flexible scheduling.
        flexrs_memory_gb_hour: As `memory_gb_hour`, with flexible scheduling.
        disk_gb_hour: Of a gigabyte of standard persistent disk for an hour.
        ssd_gb_hour: Of a gigabyte of SSD persistent disk for an hour.
        shuffle_gb: Of a gigabyte that is charged for by the shuffle service.
    """

    as_of: datetime.date
    vcpu_hour: float
    memory_gb_hour: float
    flexrs_vcpu_hour: float
    flexrs_memory_gb_hour: float
    disk_gb_hour: float
    ssd_gb_hour: float
    shuffle_gb: float


PRICES: Mapping[str, Prices] = {
    "us-central1": Prices(
        as_of=datetime.date(2026, 9, 8),
        vcpu_hour=0.056,
        memory_gb_hour=0.003557,
        flexrs_vcpu_hour=0.0336,
        flexrs_memory_gb_hour=0.0021342,
        disk_gb_hour=0.000054,
        ssd_gb_hour=0.000298,
        shuffle_gb=0.011,
    ),
}
