"""What docker-compose.yaml and the Dockerfile promise, without an engine to run them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import yaml

from demo.local_airflow import COMPONENTS, ROOT, LocalAirflow, airflow_environment
from demo.on_local_cloud import BUCKET, tallyflow_settings
from demo.run_cloud import PORTS
from local_cloud import LocalCloud
from local_cloud.environment import client_environment
from local_cloud.files import Files
from local_cloud.settings import DEFAULT_PROJECT, Settings

COMPOSE = ROOT / "docker-compose.yaml"
DOCKERFILE = (ROOT / "Dockerfile").read_text()
DOCUMENT = yaml.safe_load(COMPOSE.read_text())
SERVICES: dict[str, dict[str, Any]] = DOCUMENT["services"]
LONG_RUNNING = {"postgres", "cloud", *COMPONENTS}
SECRETS = {
    "POSTGRES_PASSWORD",
    "AIRFLOW_ADMIN_PASSWORD",
    "AIRFLOW_SECRET_KEY",
    "AIRFLOW_JWT_SECRET",
    "AIRFLOW_FERNET_KEY",
}
# All that differs between a component in a container and one of `make dev`.
IN_THE_IMAGE = {
    "AIRFLOW_HOME",
    "AIRFLOW__CORE__DAGS_FOLDER",
    "AIRFLOW__CORE__PLUGINS_FOLDER",
    "PYTHONPATH",
}
ONLY_IN_CONTAINERS = {
    "AIRFLOW__API__SECRET_KEY",
    "AIRFLOW__CORE__FERNET_KEY",
    "CONNECTION_CHECK_MAX_COUNT",
}
OF_OTHER_VALUES = {
    "AIRFLOW__API_AUTH__JWT_SECRET",
    "AIRFLOW__API__BASE_URL",
    "AIRFLOW__API__HOST",
    "AIRFLOW__API__PORT",
    "AIRFLOW__CORE__EXECUTION_API_SERVER_URL",
    "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE",
    "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN",
    "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC",
    "TALLYFLOW_JOB_PAGE",
    "NO_PROXY",
    "no_proxy",
    "no_grpc_proxy",
}


@pytest.fixture
def dev(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The variables of `make dev`, if its cloud had the names and ports of the container's."""
    for name in os.environ.keys() - {"PYTEST_CURRENT_TEST"}:  # pytest itself removes that one.
        monkeypatch.delenv(name)
    settings = Settings(
        services=("gateway", "storage", "dataflow", "bigquery"),
        ports={**PORTS, "postgres": 5432},
        host="cloud",
    )
    cloud = cast(LocalCloud, SimpleNamespace(project=DEFAULT_PROJECT, dataflow_url=""))
    environment = {
        **airflow_environment(tmp_path, f"gs://{BUCKET}", "postgresql://airflow@postgres/airflow"),
        **client_environment(Files(Path("/cloud")), settings, {}),
        **tallyflow_settings(cloud),
    }
    environment = LocalAirflow(tmp_path, environment).environment
    return {name: environment[name] for name in environment.keys() - os.environ.keys()}


@pytest.mark.parametrize("component", COMPONENTS)
def test_a_component_has_the_settings_of_make_dev(component: str, dev: dict[str, str]) -> None:
    here: dict[str, str] = SERVICES[component]["environment"]
    own = {"AIRFLOW_ADMIN_PASSWORD"} if component == "api-server" else set()
    assert here.keys() - ONLY_IN_CONTAINERS - own == dev.keys() - IN_THE_IMAGE
    same = here.keys() & dev.keys() - OF_OTHER_VALUES
    assert {name: here[name] for name in same} == {name: dev[name] for name in same}
    for name in ("NO_PROXY", "no_proxy", "no_grpc_proxy"):
        assert here[name] == f"{dev[name]},api-server"
    assert here.keys() & OF_OTHER_VALUES == OF_OTHER_VALUES


def test_the_image_says_where_its_code_is() -> None:
    for name, folder in (
        ("PYTHONPATH", ":/opt/tallyflow/demo/config"),
        ("AIRFLOW__CORE__DAGS_FOLDER", "/dags"),
        ("AIRFLOW__CORE__PLUGINS_FOLDER", "/plugins"),
    ):
        assert f"{name}=/opt/tallyflow{folder}" in DOCKERFILE.split()


def test_the_components_are_those_of_make_dev() -> None:
    assert SERVICES.keys() == {"postgres", "cloud", "init", *COMPONENTS}
    for component in COMPONENTS:
        command = SERVICES[component]["command"]
        assert " ".join(command).endswith(f"airflow {component}")


def test_the_file_fits_the_schema_of_compose() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*command, COMPOSE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_images_are_the_named_ones_and_nothing_is_fetched_when_it_is_there() -> None:
    bases = re.findall(r"^FROM (\S+) AS (\S+)$", DOCKERFILE, re.MULTILINE)
    assert bases == [
        ("apache/airflow:3.3.2-python3.11", "airflow"),
        ("apache/beam_python3.11_sdk:2.77.0", "worker"),
    ]
    assert {service["image"] for service in SERVICES.values()} == {"postgres:16", "tallyflow:local"}
    assert {service.get("pull_policy") for service in SERVICES.values()} == {None, "never"}
    for text in (DOCKERFILE, COMPOSE.read_text()):
        assert "syntax=" not in text
        assert "sha256:" not in text
    (build,) = (service["build"] for service in SERVICES.values() if "build" in service)
    assert build["target"] == "airflow"


def test_packages_are_installed_before_the_code_is_copied() -> None:
    for stage in re.split(r"^FROM ", DOCKERFILE, flags=re.MULTILINE)[1:]:
        lines = re.findall(r"^(?:RUN|COPY) .*", stage.replace("\\\n", ""), re.MULTILINE)
        installs = next(number for number, line in enumerate(lines) if "pip install" in line)
        assert not any("beam_jobs" in line for line in lines[:installs])
        assert "beam_jobs" in lines[-1]


def test_nothing_runs_as_root() -> None:
    airflow = DOCKERFILE.partition(" AS airflow")[2].partition("\nFROM ")[0]
    assert re.findall(r"^USER (.*)$", airflow, re.MULTILINE)[-1] == "airflow"
    assert {name: one["user"] for name, one in SERVICES.items() if "user" in one} == {
        "postgres": "postgres"
    }
    for service in SERVICES.values():
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]


def test_ports_are_on_loopback() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert len(ports) == 4
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_what_runs_is_checked_started_again_and_waited_for_until_it_is_healthy() -> None:
    for name in LONG_RUNNING:
        assert SERVICES[name]["restart"] == "unless-stopped"
        test = SERVICES[name]["healthcheck"]["test"]
        assert test[0] == "CMD"
        assert name == "postgres" or test[1:] == ["python", "-m", "demo.healthy", name]
    assert SERVICES["init"]["restart"] == "no"
    for name, service in SERVICES.items():
        for needed, how in service.get("depends_on", {}).items():
            once = needed == "init"
            condition = "service_completed_successfully" if once else "service_healthy"
            assert how == {"condition": condition}, (name, needed)
        assert bool(service.get("depends_on")) == (name not in {"postgres", "cloud"})


def test_data_is_in_named_volumes_and_the_code_is_that_of_the_repository() -> None:
    mounted = set()
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source, _, target = volume.partition(":")
            if source.startswith("./"):
                assert (ROOT / source).is_dir()
                assert target == f"/opt/tallyflow/{source[2:]}:ro"
                mounted.add(source[2:])
            else:
                assert source in DOCUMENT["volumes"]
    assert mounted == {"beam_jobs", "dags", "plugins", "tests"}


def test_secrets_are_in_the_env_file_only() -> None:
    given = {
        name: value
        for service in SERVICES.values()
        for name, value in service.get("environment", {}).items()
        if re.search(r"PASSWORD$|SECRET|FERNET", name)
    }
    assert all(re.fullmatch(r"\$\{\w+:\?run `make up`.*\}", value) for value in given.values())
    used = set(re.findall(r"\$\{(\w+):\?", COMPOSE.read_text()))
    assert used == SECRETS
    assert (
        "${POSTGRES_PASSWORD}@"
        in SERVICES["init"]["environment"]["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"]
    )
    assert ".env" in (ROOT / ".gitignore").read_text().splitlines()
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert ignored[1] == "*"
    assert not any(line.startswith("!.") for line in ignored)


def make_secrets(file: Path) -> None:
    command = ["/bin/sh", "-c", 'make --silent secrets ENV_FILE="$0"', str(file)]
    subprocess.run(command, cwd=ROOT, check=True)


def test_secrets_are_made_once_and_beside_what_is_there(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("TALLYFLOW_POOL=jobs\nAIRFLOW_JWT_SECRET=\nPOSTGRES_PASSWORD=mine")
    texts = []
    for _ in range(2):
        make_secrets(file)
        texts.append(file.read_text())
    assert texts[0] == texts[1]
    found = dict(line.split("=", 1) for line in texts[0].splitlines())
    assert found.keys() == SECRETS | {"TALLYFLOW_POOL"}
    assert (found["TALLYFLOW_POOL"], found["POSTGRES_PASSWORD"]) == ("jobs", "mine")
    made = [found[name] for name in SECRETS - {"POSTGRES_PASSWORD"}]
    assert len({*made}) == len(made)
    assert all(re.fullmatch(r"[\w-]{43}=", value) for value in made)


def test_a_new_env_file_is_for_its_owner_only(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    make_secrets(file)
    assert file.stat().st_mode & 0o777 == 0o600
