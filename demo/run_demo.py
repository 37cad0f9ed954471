"""Runs the DAG `flights_daily` for one day on the local cloud and shows what came out."""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import shlex
import subprocess
import sys

from beam_jobs.datasets.dataset import load_dataset
from demo.lay_out_flights import lay_out_flights
from demo.local_airflow import ROOT, airflow_environment
from demo.on_local_cloud import BUCKET, bucket_of, started_cloud, tallyflow_settings, upload_flights
from local_cloud import LocalCloud

# The same files in a folder, for the commands that the README and this demo propose.
FOLDER = ROOT / "data"
AIRFLOW_HOME = ROOT / ".tallyflow" / "airflow"
CLOUD = ROOT / ".tallyflow" / "cloud"
LOG = ROOT / ".tallyflow" / "demo.log"

TRY_NEXT = """\
What to try next:
  make demo DATE=2013-07-04
  make dev     # the local cloud and all of Airflow, to click through
  .venv/bin/python -m beam_jobs.count_elements --input 'data/flights/date=2013-01-*/*.csv' --by file
  .venv/bin/python -m beam_jobs.aggregate_files --input 'data/flights/date=2013-01-*/*.csv' \\
      --query 'SELECT dest, count(*) AS flights FROM input GROUP BY ALL ORDER BY 2 DESC LIMIT 5'
  Change a query in dags/datasets/flights.yaml, then: make demo
"""


def run_dag(environment: dict[str, str], date: str) -> None:
    """Runs all tasks of the DAG for a day; ends the demo if one fails."""
    migrated = AIRFLOW_HOME / f"migrated-to-{importlib.metadata.version('apache-airflow')}"
    if not migrated.exists():
        print("Preparing Airflow's database", flush=True)
        _airflow(environment, "db", "migrate")
        migrated.touch()
    print(f"Running the DAG flights_daily for {date}; log: {LOG.relative_to(ROOT)}", flush=True)
    _airflow(environment, "dags", "test", "flights_daily", "--conf", json.dumps({"date": date}))


def _airflow(environment: dict[str, str], *arguments: str) -> None:
    with LOG.open("a") as log:
        result = subprocess.run(  # noqa: S603
            [sys.executable, "-m", "airflow", *arguments],
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if result.returncode:
        command = shlex.join(["airflow", *arguments])
        lines = LOG.read_text(errors="replace").splitlines()
        end = "\n".join(lines[-30:])
        sys.exit(f"{end}\n\n{command} failed; all of its log is in {LOG}")


def show_results(environment: dict[str, str], cloud: LocalCloud, date: str) -> None:
    """Prints the job that ran, and each aggregate of the day, by the command that users have."""
    print(f"\nThe job on the local Dataflow, with its counters and logs, as {cloud.dataflow_url}/")
    print("shows it while `make dev` runs. The published results:")
    for name in load_dataset(ROOT / "dags" / "datasets" / "flights.yaml").aggregates:
        command = ["-m", "beam_jobs.show", "flights", name, f"--date={date}"]
        print(f"\n$ python {shlex.join(command)}", flush=True)
        subprocess.run(  # noqa: S603
            [sys.executable, *command, f"--storage=gs://{BUCKET}"], env=environment, check=True
        )


def main() -> None:
    """Lays out the files, runs the DAG, and prints the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--date", default="2013-01-01", help="a day of 2013 (default: %(default)s)")
    date = parser.parse_args().date
    if date not in {str(datetime.date(2013, 1, 1) + datetime.timedelta(i)) for i in range(365)}:
        parser.error(f"--date={date}: use a day of 2013 such as 2013-07-04")

    AIRFLOW_HOME.mkdir(parents=True, exist_ok=True)
    LOG.unlink(missing_ok=True)
    lay_out_flights(FOLDER)
    with started_cloud(CLOUD) as cloud:
        count = upload_flights(bucket_of(cloud))
        print(f"{count} days of flights are in gs://{BUCKET}/flights/", flush=True)
        environment = {
            **airflow_environment(AIRFLOW_HOME, f"gs://{BUCKET}"),
            **cloud.environment,
            **tallyflow_settings(cloud),
        }
        run_dag(environment, date)
        show_results(environment, cloud, date)
    print(TRY_NEXT, end="")


if __name__ == "__main__":
    main()
