from __future__ import annotations

import argparse
import re
from typing import Any

import pytest

from beam_jobs.datasets.dataset_parts import DataflowOverrides
from beam_jobs.errors import UsageError
from tallyflow.job_options import arguments
from tallyflow.settings import REPOSITORY, Settings, SettingsError

ON_DATAFLOW = {
    "TALLYFLOW_RUNNER": "DataflowRunner",
    "TALLYFLOW_STORAGE": "gs://bucket/prefix/",
    "TALLYFLOW_PROJECT": "project-1",
    "TALLYFLOW_REGION": "europe-west1",
    "TALLYFLOW_EXTRA_PACKAGE": "dist/tallyflow.whl",
}
_DEFAULTS = {"machine_type": "n2-standard-4", "max_num_workers": 10, "disk_size_gb": 50}


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
        **_DEFAULTS,
        "max_num_workers": 20,
        "extra_package": str(REPOSITORY / "dist" / "tallyflow.whl"),
    }
    assert settings.dataflow_config("flights-2013-01-01") == {
        "job_name": "flights-2013-01-01",
        "project_id": "project-1",
        "location": "europe-west1",
        "impersonation_chain": None,
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
        **_DEFAULTS,
    }


def test_what_is_said_of_workers_and_costs_is_in_options_that_beam_knows() -> None:
    from apache_beam.options.pipeline_options import (  # noqa: PLC0415 - takes a second
        DebugOptions,
        GoogleCloudOptions,
        PipelineOptions,
        StandardOptions,
        WorkerOptions,
    )

    settings = Settings.from_environ(
        ON_DATAFLOW
        | {
            "TALLYFLOW_NUM_WORKERS": "2",
            "TALLYFLOW_DISK_TYPE": "pd-ssd",
            "TALLYFLOW_NUMBER_OF_WORKER_HARNESS_THREADS": "1",
            "TALLYFLOW_MIN_RAM": "16GB",
            "TALLYFLOW_SHUFFLE_MODE": "appliance",
            "TALLYFLOW_DATAFLOW_KMS_KEY": "projects/p/locations/l/keyRings/r/cryptoKeys/k",
            "TALLYFLOW_LABELS": "team=data, env=prod",
            "TALLYFLOW_USE_PUBLIC_IPS": "false",
            "TALLYFLOW_NETWORK": "private",
        }
    )
    given = arguments(settings.default_pipeline_options())
    options = PipelineOptions(given)
    cloud, worker = options.view_as(GoogleCloudOptions), options.view_as(WorkerOptions)
    assert cloud.dataflow_kms_key == "projects/p/locations/l/keyRings/r/cryptoKeys/k"
    assert cloud.labels == ["team=data", "env=prod"]
    assert worker.disk_type == "compute.googleapis.com/projects//zones//diskTypes/pd-ssd"
    assert (worker.num_workers, worker.max_num_workers, worker.disk_size_gb) == (2, 10, 50)
    assert (worker.machine_type, worker.network) == ("n2-standard-4", "private")
    assert worker.use_public_ips is False
    assert options.view_as(StandardOptions).resource_hints == ["min_ram=16GB"]
    assert options.view_as(DebugOptions).experiments == ["shuffle_mode=appliance"]
    assert options.view_as(DebugOptions).number_of_worker_harness_threads == 1
    every = {name for view in PipelineOptions.__subclasses__() for name in options_of(view)}
    assert {argument.split("=")[0] for argument in given} <= every


def options_of(view: Any) -> set[str]:
    parser = argparse.ArgumentParser(add_help=False, conflict_handler="resolve")
    view._add_argparse_args(parser)
    return set(parser._option_string_actions)


def test_jobs_are_launched_by_templates_only_on_dataflow_and_their_image_has_the_package() -> None:
    templates = {"TALLYFLOW_TEMPLATES": "gs://bucket/templates/"}
    settings = Settings.from_environ(ON_DATAFLOW | templates)
    assert settings.template("count_elements") == "gs://bucket/templates/count_elements.json"
    assert "extra_package" not in settings.default_pipeline_options()
    assert Settings.from_environ(ON_DATAFLOW).template("count_elements") is None
    assert Settings.from_environ(templates).template("count_elements") is None


def test_a_package_is_made_where_the_workers_would_not_have_beam_jobs() -> None:
    without = ON_DATAFLOW | {"TALLYFLOW_EXTRA_PACKAGE": ""}
    assert Settings.from_environ(without).makes_package
    for other in ("TALLYFLOW_EXTRA_PACKAGE=a.whl", "TALLYFLOW_SDK_CONTAINER_IMAGE=team/jobs:1"):
        name, _, value = other.partition("=")
        assert not Settings.from_environ(without | {name: value}).makes_package
    assert not Settings.from_environ(
        without | {"TALLYFLOW_TEMPLATES": "gs://bucket/t"}
    ).makes_package
    assert not Settings().makes_package


def test_a_dataset_may_need_more_than_others() -> None:
    settings = Settings.from_environ(ON_DATAFLOW | {"TALLYFLOW_NUM_WORKERS": "5"})
    overrides = DataflowOverrides(machine_type="n2-highmem-8", max_num_workers=3)
    options = settings.default_pipeline_options(overrides)
    assert options["machine_type"] == "n2-highmem-8"
    assert (options["num_workers"], options["max_num_workers"]) == (3, 3)
    assert options["disk_size_gb"] == 50
    assert Settings().default_pipeline_options(overrides) == {}


def test_a_dataset_that_may_wait_has_none_of_what_does_not_go_with_waiting() -> None:
    given = {"TALLYFLOW_MIN_RAM": "16GB", "TALLYFLOW_SHUFFLE_MODE": "appliance"}
    settings = Settings.from_environ(ON_DATAFLOW | given)
    overrides = DataflowOverrides(flexrs_goal="COST_OPTIMIZED")
    options = settings.default_pipeline_options(overrides)
    assert options["flexrs_goal"] == "COST_OPTIMIZED"
    assert not {"resource_hints", "experiments"} & options.keys()
    for name, value in given.items():
        both = ON_DATAFLOW | {name: value, "TALLYFLOW_FLEXRS_GOAL": "COST_OPTIMIZED"}
        with pytest.raises(SettingsError, match=f"FLEXRS_GOAL does not go with {name}"):
            Settings.from_environ(both)


def test_accounts_are_impersonated_one_by_the_other() -> None:
    def chain(text: str) -> object:
        name = "TALLYFLOW_IMPERSONATE_SERVICE_ACCOUNT"
        config = Settings.from_environ(ON_DATAFLOW | {name: text}).dataflow_config("job")
        return config and config["impersonation_chain"]

    assert chain("launcher@p.iam.gserviceaccount.com") == "launcher@p.iam.gserviceaccount.com"
    assert chain("a@p.com, b@p.com") == ["a@p.com", "b@p.com"]


def test_a_job_does_not_begin_with_more_workers_than_it_may_have() -> None:
    with pytest.raises(SettingsError, match="NUM_WORKERS=11 is more than .*=10; raise the latter"):
        Settings.from_environ(ON_DATAFLOW | {"TALLYFLOW_NUM_WORKERS": "11"})


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
        ("MIN_RAM", "16", "'16': write a number and GB"),
        ("DATAFLOW_KMS_KEY", "mine", "'mine': use projects/P/"),
        ("LABELS", "team=data,Env=prod", "'team=data,Env=prod': 'Env=prod' is no label"),
        ("DISK_TYPE", "ssd", "'ssd'.*'pd-standard', 'pd-balanced' or 'pd-ssd'"),
        ("FLEXRS_GOAL", "cheap", "'cheap'.*'COST_OPTIMIZED' or 'SPEED_OPTIMIZED'"),
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


@pytest.mark.parametrize("missing", ["TALLYFLOW_PROJECT", "TALLYFLOW_REGION", "TALLYFLOW_STORAGE"])
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
