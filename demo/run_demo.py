"""Runs the DAG `flights_daily` for one day through Airflow and shows what came out."""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import duckdb

from demo.lay_out_flights import lay_out_flights

ROOT = Path(__file__).resolve().parents[1]
STORAGE = ROOT / "data"
AIRFLOW_HOME = ROOT / ".tallyflow" / "airflow"
LOG = ROOT / ".tallyflow" / "demo.log"

TRY_NEXT = """\
What to try next:
  make demo DATE=2013-07-04
  .venv/bin/python -m beam_jobs.count_elements --input 'data/flights/date=2013-01-*/*.csv' --by file
  .venv/bin/python -m beam_jobs.aggregate_files --input 'data/flights/date=2013-01-*/*.csv' \\
      --query 'SELECT dest, count(*) AS flights FROM input GROUP BY ALL ORDER BY 2 DESC LIMIT 5'
  Change a query in dags/datasets/flights.yaml, then: make demo
"""


def airflow_environment(home: Path, storage: Path) -> dict[str, str]:
    """The variables for an Airflow with this repository's DAGs and a database of its own.

    Settings of the user's own Airflow and Tallyflow are left out: the demo runs on this machine.
    """
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AIRFLOW_", "TALLYFLOW_"))
    }
    return inherited | {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DEFAULT_TASK_RETRY_DELAY": "1",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
        # Airflow puts the folders of DAGs and plugins on the path, but not that of beam_jobs.
        "PYTHONPATH": str(ROOT),
        "TALLYFLOW_STORAGE": str(storage),
    }


def airflow(*arguments: str) -> None:
    """Runs a command of Airflow with its output in the log; ends the demo if it fails."""
    with LOG.open("a") as log:
        result = subprocess.run(  # noqa: S603
            [sys.executable, "-m", "airflow", *arguments],
            env=airflow_environment(AIRFLOW_HOME, STORAGE),
            stdout=log,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if result.returncode:
        command = shlex.join(["airflow", *arguments])
        sys.exit(f"{_what_went_wrong()}\n\n{command} failed; all of its log is in {LOG}")


def _what_went_wrong() -> str:
    """The end of what the last job wrote, or of the log if it did not come to a job."""
    log = LOG.read_text(errors="replace")
    # After the job has ended, Airflow logs a long traceback of its own.
    job, _, _ = log.rpartition("Running command: ")[2].partition("Process exited with return code")
    return "\n".join(job.splitlines()[-30:])


def show_results(date: str) -> None:
    """Prints each aggregate of the day as a table, with the file that it is in."""
    results = STORAGE / "results" / "flights" / f"date={date}"
    for path in sorted(results.glob("*.parquet")):
        print(f"\n{path.relative_to(ROOT)}")
        # The folder's name would come as a column `date` otherwise.
        print(duckdb.read_parquet(str(path), hive_partitioning=False))


def main() -> None:
    """Lays out the files, runs the DAG, and prints the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--date", default="2013-01-01", help="a day of 2013 (default: %(default)s)")
    date = parser.parse_args().date
    if date not in {str(datetime.date(2013, 1, 1) + datetime.timedelta(i)) for i in range(365)}:
        parser.error(f"--date={date}: use a day of 2013 such as 2013-07-04")

    days = lay_out_flights(STORAGE)
    print(f"{days} days of flights are in {(STORAGE / 'flights').relative_to(ROOT)}/", flush=True)
    AIRFLOW_HOME.mkdir(parents=True, exist_ok=True)
    LOG.unlink(missing_ok=True)
    migrated = AIRFLOW_HOME / f"migrated-to-{importlib.metadata.version('apache-airflow')}"
    if not migrated.exists():
        print("Preparing Airflow's database", flush=True)
        airflow("db", "migrate")
        migrated.touch()
    print(f"Running the DAG flights_daily for {date}; log: {LOG.relative_to(ROOT)}", flush=True)
    airflow("dags", "test", "flights_daily", "--conf", json.dumps({"date": date}))
    show_results(date)
    print(TRY_NEXT, end="")


if __name__ == "__main__":
    main()
