"""A flex template says of its job's parameters what the job's own command line says."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

import pytest

from beam_jobs import options
from beam_jobs.aggregate_options import parse_args
from beam_jobs.datasets.staged_dataset import fetch_dataset, stage_dataset, staged_url
from beam_jobs.templates import JOBS, build_parser, image_of, main, metadata, spec


def parameters(job: str) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in metadata(job)["parameters"]}


@pytest.mark.parametrize("job", JOBS)
def test_each_option_of_a_job_is_a_parameter_but_those_that_only_matter_here(job: str) -> None:
    names = {action.dest for action in JOBS[job]()._actions}
    assert parameters(job).keys() == names - {"help", "runner", "describe"}


def test_a_parameter_has_its_options_type_values_and_help() -> None:
    found = parameters("count_elements")
    assert [name for name, one in found.items() if not one["isOptional"]] == ["input"]
    assert found["input"]["paramType"] == "GCS_READ_FILE"
    assert found["by"]["paramType"] == "ENUM"
    assert [one["value"] for one in found["by"]["enumOptions"]] == ["total", "file", "line", "word"]
    assert found["by"]["defaultValue"] == "total"
    assert found["top"]["paramType"] == "NUMBER"
    assert found["allow_empty"]["paramType"] == "BOOLEAN"
    assert found["top"]["helpText"] == "Only the N most frequent, with --by line or word"
    # Both ways of calling the other job are in groups of their own.
    other = parameters("aggregate_files")
    assert other["query"]["groupName"] == "One query"
    assert other["stage_only"]["groupName"] == other["dataset"]["groupName"] == "A dataset"
    assert all(one["isOptional"] for one in other.values())


@pytest.mark.parametrize(
    ("name", "value", "is_taken"),
    [
        ("input", "gs://bucket/date=*/**/*.csv", True),
        ("input", "data/*.csv", False),
        ("storage", "gs://bucket", True),
        ("output", "gs:///x.csv", False),
        ("max_rejects", "0", True),
        ("max_rejects", "-1", False),
        ("stage_only", "true", True),
        ("stage_only", "yes", False),
    ],
)
def test_a_template_takes_the_values_that_the_job_takes(
    name: str, value: str, *, is_taken: bool
) -> None:
    patterns = parameters("aggregate_files")[name]["regexes"]
    assert all(re.fullmatch(pattern, value) for pattern in patterns) == is_taken
    (action,) = (one for one in JOBS["aggregate_files"]()._actions if one.dest == name)
    if is_taken:
        assert callable(action.type)
        action.type(value)


def test_a_template_names_one_version_of_its_jobs_image_for_launching_and_for_working() -> None:
    found = spec("count_elements", "eu.pkg.dev/p/r/templates:v1")
    assert found["image"] == "eu.pkg.dev/p/r/templates/count_elements:v1"
    assert found["defaultEnvironment"] == {"sdkContainerImage": found["image"]}
    assert image_of("j", "localhost:5000/t:1") == "localhost:5000/t/j:1"
    for untagged in ("eu.pkg.dev/p/templates", "localhost:5000/t", "x:"):
        with pytest.raises(ValueError, match="has no tag"):
            image_of("j", untagged)


def test_the_files_are_written_into_a_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["--image", "t:1", "--out", f"{tmp_path}/new"])
    written = sorted(path.name for path in (tmp_path / "new").iterdir())
    assert written == [f"{job}{kind}.json" for job in sorted(JOBS) for kind in ("-metadata", "")]
    assert len(capsys.readouterr().out.split()) == 4
    found = json.loads((tmp_path / "new" / "count_elements.json").read_text())
    assert found == spec("count_elements", "t:1")
    assert json.loads((tmp_path / "new" / "count_elements-metadata.json").read_text()) == metadata(
        "count_elements"
    )


@pytest.mark.parametrize("image", ["templates", "bad name:1", "-x:1"])
def test_an_image_that_is_none_is_refused(image: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        build_parser().parse_args([f"--image={image}"])
    assert "argument --image" in capsys.readouterr().err


def test_a_flag_may_be_given_as_a_template_gives_it() -> None:
    parser = argparse.ArgumentParser()
    options.add_flag(parser.add_argument_group("x"), "--flag", help="x")
    for given, found in (([], False), (["--flag"], True), (["--flag=true"], True)):
        assert parser.parse_args(given).flag is found
    assert parser.parse_args(["--flag=false"]).flag is False
    with pytest.raises(SystemExit):
        parser.parse_args(["--flag=1"])


def test_a_templates_launcher_does_not_publish_what_is_not_computed_yet(
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = ["--runner=DataflowRunner", "--template_location=gs://b/job_object"]
    given += ["--dataset=gs://b/flights.yaml", "--date=2013-01-01"]
    assert parse_args([*given, "--stage_only=true"]).job.stage_only
    with pytest.raises(SystemExit):
        parse_args(given)
    assert "--dataset needs --stage_only in a flex template" in capsys.readouterr().err


def test_a_staged_dataset_is_found_by_what_is_in_it_and_in_its_defaults(tmp_path: Path) -> None:
    path = tmp_path / "sales.yaml"
    path.write_text("description: Sales.\n")
    alone = staged_url(path, f"{tmp_path}/staged")
    (tmp_path / "_defaults.yaml").write_text("owner: tests\n")
    url = stage_dataset(path, f"{tmp_path}/staged")
    assert url == staged_url(path, f"{tmp_path}/staged") != alone
    copied = Path(url)
    assert copied.read_text() == "description: Sales.\n"
    assert copied.with_name("_defaults.yaml").read_text() == "owner: tests\n"
    assert fetch_dataset(url, str(tmp_path)) == copied
