from __future__ import annotations

import importlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from beam_jobs.datasets.dataset import dataset_files, load_dataset
from demo.local_airflow import ROOT, airflow_environment

if TYPE_CHECKING:
    from tests.dags.describe_dags import DagDescription, Description, Run

STORAGE = "/storage"
DATASETS = dataset_files(ROOT / "dags" / "datasets")
FIRST_OF_JANUARY = ("2013-01-01T00:00:00", "2013-01-02T00:00:00")
HOSTILE = "--runner=DataflowRunner {{ 7 * 7 }} $(id); '\"\n*.csv"

RUNS: dict[str, Run] = {
    "scheduled": {
        "dag_id": "flights_daily",
        "form": {},
        "interval": FIRST_OF_JANUARY,
        "run_after": "2013-01-02T00:00:00",
    },
    "by hand, no data interval": {
        "dag_id": "flights_daily",
        "form": {},
        "interval": None,
        "run_after": "2013-03-01T08:30:00",
    },
    "by hand, with a date": {
        "dag_id": "flights_daily",
        "form": {"date": "2013-07-04"},
        "interval": FIRST_OF_JANUARY,
        "run_after": "2013-01-02T00:00:00",
    },
    "form as it is": {
        "dag_id": "count_elements",
        "form": {},
        "interval": None,
        "run_after": "2013-03-01T08:30:00",
    },
    "form filled in": {
        "dag_id": "count_elements",
        "form": {"pattern": "a/*.csv", "mode": "word", "top": 5, "output": "gs://b/words.csv"},
        "interval": None,
        "run_after": "2013-03-01T08:30:00",
    },
    "hostile form": {
        "dag_id": "count_elements",
        "form": {"pattern": HOSTILE, "output": "{{ 7 * 7 }}.csv"},
        "interval": None,
        "run_after": "2013-03-01T08:30:00",
    },
}

# A run of one field of a form, and why it is refused: by Airflow or, before the job, by the task.
REFUSED: dict[str, tuple[str, dict[str, object], str]] = {
    "misspelled date": (
        "flights_daily",
        {"dat": "2013-01-05"},
        "'dat' is not a field of this DAG's form; did you mean 'date'?",
    ),
    "unknown field": (
        "count_elements",
        {"x": 1},
        "'x' is not a field of this DAG's form; the fields are pattern, mode, top, output",
    ),
    "no such date": ("flights_daily", {"date": "2013-02-30"}, "Invalid input for param date"),
    "blank pattern": ("count_elements", {"pattern": " "}, "Invalid input for param pattern"),
    **{
        f"output {output}": ("count_elements", {"output": output}, "Invalid input for param output")
        for output in (
            ".csv",
            "out/.csv",
            "out/a.txt",
            "gs://bucket/.csv",
            "gs://bucket.csv",
            "s3://bucket/a.csv",
        )
    },
}
REFUSED_RUNS: dict[str, Run] = {
    name: {
        "dag_id": dag_id,
        "form": form,
        "interval": None,
        "run_after": "2013-03-01T08:30:00",
    }
    for name, (dag_id, form, _) in REFUSED.items()
}

# On Dataflow the form has a field that must be filled in.
RUNS_ON_DATAFLOW = {name: run for name, run in RUNS.items() if name != "form as it is"}
ON_DATAFLOW = {
    "TALLYFLOW_RUNNER": "DataflowRunner",
    "TALLYFLOW_STORAGE": "gs://bucket/tallyflow",
    "TALLYFLOW_PROJECT": "project-1",
    "TALLYFLOW_REGION": "europe-west1",
    "TALLYFLOW_EXTRA_PACKAGE": "dist/tallyflow.whl",
    "TALLYFLOW_USE_PUBLIC_IPS": "false",
    "TALLYFLOW_MAX_NUM_WORKERS": "4",
    # The operator's hook looks up the connection, though nothing connects here.
    "AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT": "google-cloud-platform://",
}


def describe(
    home: Path,
    runs: Mapping[str, Run] | None = None,
    settings: dict[str, str] | None = None,
    dags: Path = ROOT / "dags",
) -> Description:
    """Describes a DAG folder in a process without a database, which any use of one would end."""
    environment = airflow_environment(home, STORAGE) | {
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/no-such-folder/airflow.db",
    }
    description = home / "description.json"
    result = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("describe_dags.py")), str(description)],
        input=json.dumps(runs or {}),
        env=environment | (settings or {}),
        cwd=home,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout
    return cast("Description", json.loads(description.read_text()))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Description:
    return describe(tmp_path_factory.mktemp("airflow"), RUNS | REFUSED_RUNS)


@pytest.fixture(scope="module")
def folder_on_dataflow(tmp_path_factory: pytest.TempPathFactory) -> Description:
    return describe(tmp_path_factory.mktemp("airflow"), RUNS_ON_DATAFLOW, ON_DATAFLOW)


@pytest.fixture(
    params=["aggregate_files", "count_elements", *(f"{path.stem}_daily" for path in DATASETS)]
)
def dag(folder: Description, request: pytest.FixtureRequest) -> DagDescription:
    return folder["dags"][request.param]


def test_the_dag_folder_loads_without_a_database(folder: Description) -> None:
    assert folder["errors"] == {}


def test_our_part_of_loading_takes_less_than_a_second(folder: Description) -> None:
    assert folder["seconds"] < 1


def test_loading_imports_nothing_heavy_beside_the_operator(folder: Description) -> None:
    """No engine, and no Google client but those that come with ``BeamRunPythonPipelineOperator``.

    The module of that operator imports Google's Dataflow and Cloud Storage clients itself, whoever
    uses it. We use it as it is, for what it does when a job runs; so what is held here is that
    loading our files imports none of these beyond the operator's own import.
    """
    heavy = ("apache_beam", "duckdb", "pyarrow", "google.cloud")
    assert [name for name in folder["modules"] if name.startswith(heavy)] == []
    assert "beam_jobs.datasets.dataset" in folder["modules"]


def test_what_dag_files_import_is_not_also_loaded_as_a_plugin(folder: Description) -> None:
    assert "tallyflow.dataset_dag" in folder["modules"]
    assert "dataset_dag" not in folder["modules"]


def test_each_dataset_has_one_dag_and_each_dag_an_id_of_its_own(folder: Description) -> None:
    datasets = set()
    for dataset in map(load_dataset, DATASETS):
        datasets |= {f"{dataset.name}_{grain}ly" for grain in ("dai", *dataset.rollups)}
    assert folder["dags"].keys() == datasets | {"aggregate_files", "count_elements"}
    assert folder["count"] == len(folder["dags"])


def test_each_dag_says_what_it_is_and_who_owns_it(dag: DagDescription) -> None:
    assert dag["description"]
    assert dag["documentation"]
    assert dag["tags"]
    for _operator, owner, retries in dag["tasks"].values():
        assert owner not in {"", "airflow"}
        assert retries


def test_each_field_of_a_form_has_a_description_and_a_type(dag: DagDescription) -> None:
    assert dag["params"]
    for description, kind in dag["params"].values():
        assert description
        assert kind


def test_few_runs_of_a_dag_are_active_at_a_time(dag: DagDescription) -> None:
    assert dag["max_active_runs"] == 4


@pytest.mark.parametrize("run", REFUSED)
def test_a_form_with_a_mistake_starts_no_job(folder: Description, run: str) -> None:
    assert run not in folder["commands"]
    assert folder["refusals"][run].startswith(REFUSED[run][2])


def test_a_dataset_dag_says_what_its_files_hold_where_it_asks_for_a_date(
    folder: Description,
) -> None:
    for path in DATASETS:
        dag = folder["dags"][f"{path.stem}_daily"]
        description = load_dataset(path).description
        assert description in (dag["documentation"] or "")
        assert description in (dag["params"]["date"][0] or "")


def test_a_dataset_dag_shows_each_query(folder: Description) -> None:
    for path in DATASETS:
        documentation = folder["dags"][f"{path.stem}_daily"]["documentation"] or ""
        for aggregate in load_dataset(path).aggregates.values():
            assert aggregate.query.strip() in documentation


def accept(command: list[str]) -> None:
    """Has the job's own parser read a command; it exits where it does not accept an option."""
    option, module, *argv = command
    assert option == "-m"
    importlib.import_module(module).parse_args(argv)


@pytest.mark.parametrize("run", RUNS)
def test_the_job_accepts_what_its_task_passes(folder: Description, run: str) -> None:
    accept(folder["commands"][run])


@pytest.mark.parametrize("run", RUNS_ON_DATAFLOW)
def test_the_job_accepts_what_its_task_passes_on_dataflow(
    folder_on_dataflow: Description, run: str
) -> None:
    accept(folder_on_dataflow["commands"][run])


def test_on_dataflow_the_form_asks_for_an_output_file(folder_on_dataflow: Description) -> None:
    _, kind = folder_on_dataflow["dags"]["count_elements"]["params"]["output"]
    assert kind == "string"


@pytest.mark.parametrize(
    ("run", "date"),
    [
        ("scheduled", "2013-01-01"),
        ("by hand, no data interval", "2013-02-28"),
        ("by hand, with a date", "2013-07-04"),
    ],
)
def test_a_run_processes_the_partition_of_its_date(
    folder: Description, run: str, date: str
) -> None:
    assert folder["commands"][run][1:6] == [
        "beam_jobs.aggregate_files",
        "--runner=DirectRunner",
        f"--dataset={ROOT / 'dags' / 'datasets' / 'flights.yaml'}",
        f"--date={date}",
        f"--storage={STORAGE}",
    ]


def test_fields_left_empty_are_not_passed(folder: Description) -> None:
    options = {argument.partition("=")[0] for argument in folder["commands"]["form as it is"][2:]}
    assert options == {"--runner", "--input", "--by", "--labels"}


def test_paths_of_the_form_are_below_the_storage_root_unless_urls(folder: Description) -> None:
    passed = folder["commands"]["form filled in"]
    assert passed[2:7] == [
        "--runner=DirectRunner",
        f"--input={STORAGE}/a/*.csv",
        "--by=word",
        "--top=5",
        "--output=gs://b/words.csv",
    ]


def test_what_a_user_types_is_one_argument_and_no_template(folder: Description) -> None:
    passed = folder["commands"]["hostile form"]
    assert f"--input={STORAGE}/{HOSTILE}" in passed
    assert f"--output={STORAGE}/{{{{ 7 * 7 }}}}.csv" in passed
    assert [argument for argument in passed if argument.startswith("--runner")] == [
        "--runner=DirectRunner"
    ]


def test_on_dataflow_a_job_is_named_after_its_partition(folder_on_dataflow: Description) -> None:
    passed = folder_on_dataflow["commands"]["scheduled"]
    (job_name,) = (one for one in passed if one.startswith("--job_name="))
    assert re.fullmatch("--job_name=flights-2013-01-01-[0-9a-f]+", job_name)
    assert {
        "--runner=DataflowRunner",
        "--project=project-1",
        "--region=europe-west1",
        "--storage=gs://bucket/tallyflow",
        "--temp_location=gs://bucket/tallyflow/tmp",
        f"--extra_package={ROOT / 'dist' / 'tallyflow.whl'}",
        "--no_use_public_ips",
        "--max_num_workers=4",
        "--labels=dataset=flights",
        "--labels=dag=flights_daily",
        "--labels=run=manual__1",
        "--labels=partition=2013-01-01",
        "--run_id=manual__1.1",
        "--stage_only",
    } <= set(passed)


def test_a_mistake_in_one_dataset_is_reported_and_leaves_the_others_alone(tmp_path: Path) -> None:
    dags = tmp_path / "dags"
    shutil.copytree(ROOT / "dags", dags)
    flights = (dags / "datasets" / "flights.yaml").read_text()
    broken = dags / "datasets" / "broken.yaml"
    broken.write_text(flights.replace("max_rejects:", "max_reject:"))

    folder = describe(tmp_path, dags=dags)

    assert "flights_daily" in folder["dags"]
    assert "broken_daily" not in folder["dags"]
    ((file, error),) = folder["errors"].items()
    assert Path(file).name == "broken_datasets.py"
    assert "broken.yaml" in error
    assert "max_reject" in error


def test_wrong_settings_are_an_import_error_that_names_the_variable(tmp_path: Path) -> None:
    folder = describe(tmp_path, settings={"TALLYFLOW_RUNNER": "DataflowRunner"})

    assert folder["dags"] == {}
    assert len(folder["errors"]) == 3
    for error in folder["errors"].values():
        assert "TALLYFLOW_PROJECT" in error
