"""Runs the local cloud and all of Airflow until Ctrl-C, to develop DAGs and datasets with."""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import threading
import time

from demo.local_airflow import PASSWORD, ROOT, USER, LocalAirflow, airflow_environment
from demo.on_local_cloud import BUCKET, bucket_of, started_cloud, tallyflow_settings, upload_flights

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
    started = time.monotonic()
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    with (
        contextlib.suppress(KeyboardInterrupt),
        started_cloud(HOME / "cloud", with_airflow=True) as cloud,
    ):
        count = upload_flights(bucket_of(cloud))
        print(f"{count} days of flights are in gs://{BUCKET}/flights/", flush=True)
        environment = {
            **airflow_environment(HOME / "airflow", f"gs://{BUCKET}", cloud.postgres_url),
            **cloud.environment,
            **tallyflow_settings(cloud),
        }
        with LocalAirflow(HOME / "airflow", environment, port=port, show=_show) as airflow:
            ready = READY.format(
                seconds=time.monotonic() - started,
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
            ended.wait()


def _show(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
