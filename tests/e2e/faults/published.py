"""A SIGKILL in the DAG of a dataset: what is published is what it must be."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb

from demo.local_airflow import ROOT
from demo.on_local_cloud import BUCKET, bucket_of
from tests.e2e.faults.play import Play, Settings
from tests.e2e.faults.stand import Stand

_DAY = "2100-01-01"
_ORDERS = [(f"shop{n % 3}", Decimal(n) / 4) for n in range(1, 301)]


@dataclass(frozen=True)
class Published:
    """What is there in the end.

    Attributes:
        jobs: The states of the jobs that the run has launched.
        tries: How often the task was tried that launches them.
        run: The state of the run.
        rows: Of the published aggregate.
    """

    jobs: tuple[str, ...]
    tries: int
    run: str
    rows: list[tuple[Any, ...]]


def expected() -> list[tuple[Any, ...]]:
    """What has to be published."""
    shops = sorted({shop for shop, _ in _ORDERS})
    prices = {shop: [price for other, price in _ORDERS if other == shop] for shop in shops}
    return [(shop, len(prices[shop]), sum(prices[shop])) for shop in shops]


def publish(stand: Stand, folder: Path) -> Published:
    """Runs the DAG; kills its task when the job is done, before the task knows of any job."""
    text = "shop,price\n" + "".join(f"{shop},{price}\n" for shop, price in _ORDERS)
    bucket_of(stand.cloud).blob(f"orders/date={_DAY}/orders.csv").upload_from_string(text)
    play = Play(stand, f"orders-{_DAY}", "ours", Settings(), task_id="aggregate")
    play.start_dag("orders_daily", {"date": _DAY})
    play.until_launcher()
    process = play.freeze()
    play.until_job()
    play.until_done()
    play.kill(process)
    run = play.end_of_run()
    seen = play.seen()
    return Published(seen.jobs, seen.tries, run, _shown(stand, folder / "shown.parquet"))


def _shown(stand: Stand, output: Path) -> list[tuple[Any, ...]]:
    subprocess.run(
        [
            *(sys.executable, "-m", "beam_jobs.show", "orders", "by_shop", f"--date={_DAY}"),
            *(f"--storage=gs://{BUCKET}", f"--output={output}"),
        ],
        env=stand.airflow.environment,
        cwd=ROOT,
        check=True,
    )
    return duckdb.execute(f"FROM '{output}' ORDER BY shop").fetchall()
