"""One Airflow DAG for each file in `dags/datasets`, and one for each of its rollups.

(Airflow only looks into files in which it finds both its own name and the word DAG.)
"""

from __future__ import annotations

from pathlib import Path

from beam_jobs.datasets.dataset import DatasetError, dataset_files, load_dataset
from tallyflow.dataset_dag import dataset_dag
from tallyflow.rollup_dag import rollup_dag
from tallyflow.settings import Settings

settings = Settings.from_environ()

for path in dataset_files(Path(__file__).parent / "datasets"):
    try:
        dataset = load_dataset(path)
    except DatasetError:
        # An error raised here would take every dataset down with this one.
        continue  # dags/broken_datasets.py reports it
    dataset_dag(dataset, path, settings)
    for grain in dataset.rollups:
        rollup_dag(dataset, grain, path, settings)
