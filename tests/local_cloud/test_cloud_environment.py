"""The variables of clients: what is set, what is kept, and how a shell gets them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from local_cloud.environment import client_environment, format_environment, outer_bundle
from local_cloud.files import Files
from local_cloud.services import services_of
from local_cloud.settings import SERVICES, Settings

_PORTS = dict.fromkeys(("storage", "dataflow", "dataflow_grpc", "bigquery", "postgres"), 2)
_SETTINGS = Settings(services=SERVICES[:-1], ports={"gateway": 1, **_PORTS})
_FILES = Files(Path("/cloud"))


def test_every_spelling_of_the_proxy_names_the_gateway() -> None:
    variables = client_environment(_FILES, _SETTINGS, {})
    for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "grpc_proxy"):
        assert variables[name] == "http://127.0.0.1:1"
    for name in ("NO_PROXY", "no_proxy"):
        assert variables[name] == "localhost,127.0.0.1,::1"


def test_clients_in_other_containers_reach_it_by_its_name_and_all_services_listen_there() -> None:
    settings = Settings(services=SERVICES[:-1], ports=_SETTINGS.ports, host="cloud")
    variables = client_environment(_FILES, settings, {})
    assert variables["HTTPS_PROXY"] == "http://cloud:1"
    assert variables["GCE_METADATA_HOST"] == "cloud:1"
    assert variables["STORAGE_EMULATOR_HOST"] == "http://cloud:2"
    assert variables["no_proxy"] == "localhost,127.0.0.1,::1,cloud"
    assert not any("127.0.0.1:" in value for value in variables.values())
    for service in services_of(_FILES, settings):
        assert "--host 0.0.0.0" in " ".join(service.command)
    for service in services_of(_FILES, _SETTINGS):
        assert "--host 127.0.0.1" in " ".join(service.command)


def test_a_service_that_is_left_out_has_no_variables() -> None:
    settings = Settings(services=("gateway",), ports=_SETTINGS.ports)
    variables = client_environment(_FILES, settings, {})
    assert not {"STORAGE_EMULATOR_HOST", "BIGQUERY_EMULATOR_HOST"} & variables.keys()


def test_what_is_replaced_is_kept_under_another_name() -> None:
    outer = {"HTTPS_PROXY": "http://company:3128", "SSL_CERT_FILE": "/company.pem", "HOME": "/me"}
    variables = client_environment(_FILES, _SETTINGS, outer)
    kept = {name: value for name, value in variables.items() if name.startswith("LOCAL_CLOUD_OUT")}
    assert kept == {
        "LOCAL_CLOUD_OUTER_HTTPS_PROXY": "http://company:3128",
        "LOCAL_CLOUD_OUTER_SSL_CERT_FILE": "/company.pem",
    }


@pytest.mark.parametrize("outer", [{}, {"HTTPS_PROXY": "http://company:3128"}])
def test_a_cloud_in_a_cloud_keeps_what_was_outside_of_both(outer: dict[str, str]) -> None:
    first = client_environment(_FILES, _SETTINGS, outer)
    second = client_environment(Files(Path("/other")), _SETTINGS, {**outer, **first})
    kept = {f"LOCAL_CLOUD_OUTER_{name}": value for name, value in outer.items()}
    found = {name: value for name, value in second.items() if name.startswith("LOCAL_CLOUD_OUTER_")}
    assert found == kept


def test_hosts_that_are_let_through_are_trusted_as_they_are_outside() -> None:
    assert outer_bundle({"SSL_CERT_FILE": "/company.pem"}) == Path("/company.pem")
    inner = client_environment(_FILES, _SETTINGS, {"SSL_CERT_FILE": "/company.pem"})
    assert outer_bundle(inner) == Path("/company.pem")
    assert outer_bundle({}).read_text().count("BEGIN CERTIFICATE") > 50


def test_a_shell_reads_back_what_is_written(tmp_path: Path) -> None:
    variables = client_environment(Files(tmp_path / "it's a cloud $HOME"), _SETTINGS, {})
    (tmp_path / "env").write_text(format_environment(variables))
    script = (
        "set -a; source ./env; python3 -c 'import json, os; print(json.dumps(dict(os.environ)))'"
    )
    done = subprocess.run(
        ["/bin/bash", "-c", script], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    found = json.loads(done.stdout)
    assert {name: found[name] for name in variables} == variables
