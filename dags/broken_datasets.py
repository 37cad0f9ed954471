"""Reports the files in `dags/datasets` that have no DAG because of a mistake in them.

Airflow takes a DAG file as a whole: after one error it starts none of the file's DAGs. So the
sound datasets have theirs in `dataset_dags.py`, and this file, with no DAG, has the import error.
"""

from __future__ import annotations

from pathlib import Path

from beam_jobs.datasets.dataset import DatasetError, dataset_files, load_dataset

problems: list[str] = []
for path in dataset_files(Path(__file__).parent / "datasets"):
    try:
        load_dataset(path)
    except DatasetError as error:
        problems.extend(error.problems)
if problems:
    raise DatasetError(problems)
