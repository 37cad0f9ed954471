"""Google's own libraries of credentials get what they ask for, and it is of use to nobody else."""

from __future__ import annotations

import base64
import json

import pytest
import requests
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from local_cloud import LocalCloud
from local_cloud.files import Files
from local_cloud.gateway.identity import ACCESS_TOKEN
from tests.local_cloud.clients import RunClient

_EMAIL = "local-cloud@local-project.iam.gserviceaccount.com"
_CLIENTS = """
import asyncio, time
import google.auth, google.auth.iam, google.auth.impersonated_credentials
from google.auth import compute_engine
from google.auth.transport.requests import Request
from google.oauth2 import id_token, service_account
from gcloud.aio.auth import Token

scopes = ["https://www.googleapis.com/auth/cloud-platform"]

started = time.monotonic()
credentials, said["project"] = google.auth.default(scopes=scopes)
credentials.refresh(Request())
said["default"] = credentials.token
said["email"] = credentials.service_account_email

machine = compute_engine.Credentials()
machine.refresh(Request())
said["machine"] = machine.token
said["machine_email"] = machine.service_account_email

other = google.auth.impersonated_credentials.Credentials(
    credentials, "other@local-project.iam.gserviceaccount.com", scopes
)
other.refresh(Request())
said["impersonated"] = other.token
said["signed"] = google.auth.iam.Signer(Request(), credentials, said["email"]).sign(b"text").hex()
said["id_token"] = id_token.fetch_id_token(Request(), "https://service")

async def with_aiohttp():
    async with Token(scopes=scopes) as token:
        said["aio"] = await token.get()
asyncio.run(with_aiohttp())
said["seconds"] = time.monotonic() - started
"""


def test_libraries_of_credentials_work_unchanged(
    local_cloud: LocalCloud, run_client: RunClient
) -> None:
    said = run_client(_CLIENTS)
    for way in ("default", "machine", "impersonated", "aio"):
        assert said[way] == ACCESS_TOKEN
    assert said["project"] == "local-project"
    assert said["email"] == said["machine_email"] == _EMAIL
    assert said["seconds"] < 5, "a library waits for something that does not answer"
    claims = json.loads(base64.urlsafe_b64decode(said["id_token"].split(".")[1] + "=="))
    assert claims["aud"] == "https://service"
    key = load_pem_private_key(_key_file(local_cloud)["private_key"].encode(), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    signature = bytes.fromhex(said["signed"])
    key.public_key().verify(signature, b"text", padding.PKCS1v15(), hashes.SHA256())


def test_the_key_file_names_nothing_outside(local_cloud: LocalCloud) -> None:
    document = _key_file(local_cloud)
    assert document["token_uri"] == f"{local_cloud.gateway_url}/token"
    assert [value for value in document.values() if "googleapis" in str(value)] == []


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        ("/", 200, "computeMetadata/\n"),
        ("/computeMetadata/v1/project/project-id", 200, "local-project"),
        ("/computeMetadata/v1/instance/zone", 200, "projects/100000000000/zones/us-central1-a"),
        ("/computeMetadata/v1/instance/service-accounts/default/email", 200, _EMAIL),
        ("/computeMetadata/v1/universe/universe-domain", 200, "googleapis.com"),
        ("/computeMetadata/v1/instance/attributes/x", 404, "The local cloud has no "),
    ],
)
def test_the_metadata_server(local_cloud: LocalCloud, path: str, status: int, text: str) -> None:
    headers = {"Metadata-Flavor": "Google"}
    proxies = {"http": local_cloud.gateway_url}
    for answer in (
        requests.get(local_cloud.gateway_url + path, headers=headers, timeout=5),
        requests.get(
            f"http://metadata.google.internal{path}", headers=headers, timeout=5, proxies=proxies
        ),
    ):
        assert answer.status_code == status
        assert answer.text.startswith(text)
        assert answer.headers["Metadata-Flavor"] == "Google"


def test_the_metadata_server_wants_its_header(local_cloud: LocalCloud) -> None:
    url = f"{local_cloud.gateway_url}/computeMetadata/v1/project/project-id"
    assert requests.get(url, timeout=5).status_code == 403


@pytest.mark.parametrize("body", [{}, {"grant_type": "password"}])
def test_other_grants_are_refused_as_oauth_does(
    local_cloud: LocalCloud, body: dict[str, str]
) -> None:
    answer = requests.post(f"{local_cloud.gateway_url}/token", data=body, timeout=5)
    assert answer.status_code == 400
    assert answer.json()["error"] == "unsupported_grant_type"


def test_a_refresh_grant_gives_the_local_token(local_cloud: LocalCloud) -> None:
    body = {"grant_type": "refresh_token", "refresh_token": "x"}
    answer = requests.post(f"{local_cloud.gateway_url}/token", data=body, timeout=5)
    assert answer.json()["access_token"] == ACCESS_TOKEN


def test_a_token_can_be_made_to_fail(local_cloud: LocalCloud) -> None:
    fault = '{"method": "oauth2.token", "status": 503, "times": 1}'
    faults = f"{local_cloud.gateway_url}/_local_cloud/faults"
    assert requests.post(faults, data=fault, timeout=5).status_code == 201
    body = {"grant_type": "refresh_token"}
    url = f"{local_cloud.gateway_url}/token"
    assert [requests.post(url, data=body, timeout=5).status_code for _ in "12"] == [503, 200]


@pytest.mark.parametrize("method", ["signBlob", "signJwt", "generateAccessToken"])
def test_requests_that_are_no_json_are_the_clients_fault(
    local_cloud: LocalCloud, method: str
) -> None:
    url = f"{local_cloud.gateway_url}/v1/projects/-/serviceAccounts/{_EMAIL}:{method}"
    for body in ("{", "[]", '{"payload": "%", "lifetime": "soon"}'):
        answer = requests.post(url, data=body, timeout=5)
        assert answer.status_code == 400, answer.text
        assert answer.json()["error"]["message"]


def _key_file(cloud: LocalCloud) -> dict[str, str]:
    document: dict[str, str] = json.loads(Files(cloud.directory).service_account.read_text())
    return document
