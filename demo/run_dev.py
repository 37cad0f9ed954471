"""Runs the local cloud and all of Airflow until Ctrl-C, to develop DAGs and datasets with."""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from demo.local_airflow import PASSWORD, ROOT, USER, LocalAirflow, airflow_environment
from demo.on_local_cloud import BUCKET, bucket_of, started_cloud, tallyflow_settings, upload_flights
from local_cloud import LocalCloud

HOME = ROOT / ".tallyflow" / "dev"
READY = """\

Ready after {seconds:.0f} s. Ctrl-C ends all of it; what is published stays for the next time.
  Airflow         {airflow}   (user {user}, password {password})
  Dataflow        {dataflow}
  Cloud Storage   gs://{bucket}, {storage}
  BigQuery        {bigquery}
For gcloud, Python and the jobs, in another shell:
  set -a; source {environment}; set +a
"""


def main() -> None:
    """Starts everything, says where it is, and waits."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8080, help="of Airflow (default: %(default)s)")
    port = parser.parse_args().port
    began = time.monotonic()
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    with (
        contextlib.suppress(KeyboardInterrupt),
        started(HOME, port=port, show=_show) as (cloud, airflow),
    ):
        ready = READY.format(
            seconds=time.monotonic() - began,
            airflow=airflow.url,
            user=USER,
            password=PASSWORD,
            dataflow=cloud.dataflow_url,
            bucket=BUCKET,
            storage=cloud.storage_url,
            bigquery=cloud.bigquery_url,
            environment=cloud.directory / "env",
        )
        print(ready, flush=True)
        while not ended.wait(1):
            for component in airflow.start_what_died():
                print(f"{component} has ended; it is started again", flush=True)


@contextlib.contextmanager
def started(
    home: Path,
    *,
    changes: Mapping[str, str] | None = None,
    port: int = 0,
    show: Callable[[str], None] | None = None,
) -> Iterator[tuple[LocalCloud, LocalAirflow]]:
    """Starts the local cloud with the example's files and all of Airflow, and ends them.

    Args:
        home: The folder of all that they keep.
        changes: Variables of Airflow that are to differ.
        port: Of Airflow; 0 for a free one.
        show: Called with each line that a component of Airflow writes.
    """
    with started_cloud(home / "cloud", with_airflow=True) as cloud:
        count = upload_flights(bucket_of(cloud))
        print(f"{count} days of flights are in gs://{BUCKET}/flights/", flush=True)
        environment = {
            **airflow_environment(home / "airflow", f"gs://{BUCKET}", cloud.postgres_url),
            **cloud.environment,
            **tallyflow_settings(cloud),
            **(changes or {}),
        }
        with LocalAirflow(home / "airflow", environment, port=port, show=show) as airflow:
            yield cloud, airflow


def _show(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
