from __future__ import annotations

import re

import pytest

from beam_jobs.errors import UsageError
from tallyflow.settings import REPOSITORY, Settings, SettingsError

ON_DATAFLOW = {
    "TALLYFLOW_RUNNER": "DataflowRunner",
    "TALLYFLOW_STORAGE": "gs://bucket/prefix/",
    "TALLYFLOW_PROJECT": "project-1",
    "TALLYFLOW_REGION": "europe-west1",
    "TALLYFLOW_EXTRA_PACKAGE": "dist/tallyflow.whl",
}


def test_without_variables_jobs_run_here_on_the_data_folder() -> None:
    settings = Settings.from_environ({})
    assert settings.runner == "DirectRunner"
    assert settings.storage == str(REPOSITORY / "data")
    assert settings.default_pipeline_options() == {}
    assert settings.dataflow_config("job") is None


def test_other_variables_and_empty_ones_count_as_not_set() -> None:
    environ = {"TALLYFLOW_RUNNER": "", "TALLYFLOW_REGION": " ", "RUNNER": "x", "PATH": "/bin"}
    assert Settings.from_environ(environ) == Settings()


def test_the_options_are_those_of_the_variables() -> None:
    settings = Settings.from_environ(
        ON_DATAFLOW
        | {
            "TALLYFLOW_SERVICE_ACCOUNT_EMAIL": "a@project-1.iam.gserviceaccount.com",
            "TALLYFLOW_SUBNETWORK": "regions/europe-west1/subnetworks/private",
            "TALLYFLOW_USE_PUBLIC_IPS": "false",
            "TALLYFLOW_MAX_NUM_WORKERS": "20",
        }
    )
    assert settings.default_pipeline_options() == {
        "temp_location": "gs://bucket/prefix/tmp",
        "service_account_email": "a@project-1.iam.gserviceaccount.com",
        "subnetwork": "regions/europe-west1/subnetworks/private",
        "use_public_ips": False,
        "max_num_workers": 20,
        "extra_package": str(REPOSITORY / "dist" / "tallyflow.whl"),
    }
    assert settings.dataflow_config("flights-2013-01-01") == {
        "job_name": "flights-2013-01-01",
        "project_id": "project-1",
        "location": "europe-west1",
    }


def test_an_image_stands_in_for_the_package_and_a_temp_location_for_its_default() -> None:
    environ = ON_DATAFLOW | {
        "TALLYFLOW_EXTRA_PACKAGE": "",
        "TALLYFLOW_SDK_CONTAINER_IMAGE": "team/tallyflow:1",
        "TALLYFLOW_TEMP_LOCATION": "gs://temporary",
    }
    assert Settings.from_environ(environ).default_pipeline_options() == {
        "temp_location": "gs://temporary",
        "sdk_container_image": "team/tallyflow:1",
    }


@pytest.mark.parametrize(
    ("storage", "path", "located"),
    [
        ("gs://bucket/prefix/", "flights/*.csv", "gs://bucket/prefix/flights/*.csv"),
        ("/srv/files/", "flights/*.csv", "/srv/files/flights/*.csv"),
        ("files", "a.csv", str(REPOSITORY / "files" / "a.csv")),
        ("/srv", "/srv/a.csv", "/srv/a.csv"),
        ("/srv", "gs://other/a.csv", "gs://other/a.csv"),
        ("/srv", "--runner=x", "/srv/--runner=x"),
    ],
)
def test_a_path_is_below_the_storage_root_unless_it_is_a_url(
    storage: str, path: str, located: str
) -> None:
    assert Settings.from_environ({"TALLYFLOW_STORAGE": storage}).locate(path) == located


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("RUNNER", "Dataflow", "'Dataflow'.*'DirectRunner' or 'DataflowRunner'"),
        ("STORAGE", "s3://bucket", "'s3://bucket': use a local folder or gs://"),
        ("STORAGE", "gs://", "'gs://': use a local folder or gs://"),
        ("TEMP_LOCATION", "/tmp", "'/tmp': use gs://"),  # noqa: S108
        ("MAX_NUM_WORKERS", "0", "'0'.*greater than or equal to 1"),
        ("MAX_NUM_WORKERS", "many", "'many'.*valid integer"),
        ("USE_PUBLIC_IPS", "perhaps", "'perhaps'.*valid boolean"),
    ],
)
def test_a_wrong_value_is_named_with_its_variable_and_what_is_valid(
    variable: str, value: str, message: str
) -> None:
    with pytest.raises(SettingsError, match=f"^TALLYFLOW_{variable}={message}"):
        Settings.from_environ({f"TALLYFLOW_{variable}": value})


def test_a_misspelled_variable_is_not_ignored() -> None:
    with pytest.raises(SettingsError, match=r"MAX_WORKERS .*mean TALLYFLOW_MAX_NUM_WORKERS"):
        Settings.from_environ({"TALLYFLOW_MAX_WORKERS": "3"})


@pytest.mark.parametrize("missing", sorted(ON_DATAFLOW.keys() - {"TALLYFLOW_RUNNER"}))
def test_dataflow_without_what_it_needs_is_refused(missing: str) -> None:
    environ = {name: value for name, value in ON_DATAFLOW.items() if name != missing}
    with pytest.raises(SettingsError, match=f"also set {missing}"):
        Settings.from_environ(environ)


def test_the_example_file_has_each_variable_once_with_its_default() -> None:
    lines = (REPOSITORY / ".env.example").read_text().splitlines()
    example = [line.split("=", 1) for line in lines if re.match("[A-Z]", line)]
    assert [name for name, _ in example] == list(dict(example))
    assert dict(example).keys() == {f"TALLYFLOW_{name.upper()}" for name in Settings.model_fields}
    assert Settings.from_environ(dict(example)) == Settings()


@pytest.mark.parametrize("path", ["/tmp/a.csv", "../a.csv", "a/../../b.csv", "/srv/../a.csv"])  # noqa: S108
def test_a_path_that_leads_out_of_the_storage_root_is_refused(path: str) -> None:
    with pytest.raises(UsageError, match="is not below the storage root, /srv"):
        Settings.from_environ({"TALLYFLOW_STORAGE": "/srv"}).locate(path)


@pytest.mark.parametrize(
    "path",
    [
        "results/flights/date=2013-01-01/runs/r1/by_origin.parquet",
        "./results//x.csv",
        "/results/x.csv",
        "gs://bucket/p/results/x.csv",
    ],
)
def test_a_form_does_not_write_among_the_results_of_datasets(path: str) -> None:
    settings = Settings(storage="gs://bucket/p")
    with pytest.raises(UsageError, match="below"):
        settings.locate_output(path)
    assert settings.locate_output("reports/results/x.csv") == "gs://bucket/p/reports/results/x.csv"
    assert settings.locate_output("gs://bucket/results/x.csv") == "gs://bucket/results/x.csv"
