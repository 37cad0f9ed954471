"""With the environment of a local cloud, no process reaches a real project."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from local_cloud import LocalCloud
from tests.local_cloud.clients import RunClient

_STRACE = shutil.which("strace")
_GCLOUD = shutil.which("gcloud")
# Hosts of Google's that nothing here stands in for, as each library of HTTP reaches out to them.
_REFUSED = """
import asyncio, subprocess, urllib.request
import aiohttp, google.auth, grpc, httplib2, httpx, requests
import google.auth.transport.requests
from google.cloud import secretmanager

url = "https://pubsub.googleapis.com/v1/projects/real/topics"

def attempt(name, call):
    try:
        said[name] = f"reached: {call()}"
    except Exception as error:
        said[name] = f"{type(error).__name__}: {error}"

async def with_aiohttp():
    async with aiohttp.ClientSession(trust_env=True) as session, session.get(url) as answer:
        return await answer.text()

def with_grpc():
    trusted = grpc.ssl_channel_credentials()
    with grpc.secure_channel("pubsub.googleapis.com:443", trusted) as channel:
        return channel.unary_unary("/google.pubsub.v1.Publisher/ListTopics")(b"", timeout=20)

def with_authorized_session():
    credentials, _ = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
    return google.auth.transport.requests.AuthorizedSession(credentials).get(url)

attempt("requests", lambda: requests.get(url))
attempt("requests_http", lambda: requests.get(url.replace("https", "http")).raise_for_status())
attempt("httplib2", lambda: httplib2.Http().request(url))
attempt("httpx", lambda: httpx.get(url))
attempt("urllib", lambda: urllib.request.urlopen(url))
attempt("aiohttp", lambda: asyncio.run(with_aiohttp()))
attempt("grpc", with_grpc)
attempt("google-auth", with_authorized_session)
attempt("curl", lambda: subprocess.run(["curl", "-sSf", url], check=True, capture_output=True))
"""
# What our users run most, with the names of real APIs.
_CLIENTS = """
import sys, asyncio
import fsspec, google.auth, google.auth.transport.requests, httplib2, requests
import googleapiclient.discovery, google_auth_httplib2
from google.cloud import bigquery, dataflow_v1beta3, storage
from gcloud.aio.storage import Storage

bucket = sys.argv[1]
storage.Client().bucket(bucket).blob("x").upload_from_string("x")
said["storage"] = [blob.name for blob in storage.Client().list_blobs(bucket)]
said["bigquery"] = isinstance(list(bigquery.Client().list_datasets()), list)
jobs = dataflow_v1beta3.JobsV1Beta3Client()
request = {"project_id": "local-project", "location": "us-central1"}
said["dataflow_grpc"] = isinstance(list(jobs.list_jobs(request=request)), list)
dataflow = googleapiclient.discovery.build("dataflow", "v1b3")
call = dataflow.projects().jobs().aggregated(projectId="local-project")
said["dataflow_rest"] = isinstance(call.execute(), dict)
said["gcsfs"] = fsspec.filesystem("gs").cat(f"{bucket}/x").decode()
said["token_of_the_real_host"] = requests.get("https://oauth2.googleapis.com/tokeninfo").status_code

async def with_aiohttp():
    async with Storage() as client:
        return (await client.download(bucket, "x")).decode()

said["gcloud-aio"] = asyncio.run(with_aiohttp())
try:
    googleapiclient.discovery.build("compute", "v1").instances().list(
        project="real", zone="us-central1-a").execute()
except Exception as error:
    said["compute"] = type(error).__name__
"""


def test_other_hosts_of_googles_are_refused_to_every_library(
    local_cloud: LocalCloud, run_client: RunClient
) -> None:
    said = run_client(_REFUSED)
    assert len(said) == 9
    for library, outcome in said.items():
        assert "403" in outcome or outcome.startswith("CalledProcessError"), (library, outcome)
    refused = requests.get(f"{local_cloud.gateway_url}/_local_cloud/refused", timeout=5).json()
    assert refused["pubsub.googleapis.com"] >= len(said)


def test_only_the_local_authority_is_trusted(run_client: RunClient) -> None:
    said = run_client(
        "import ssl, requests, httplib2\n"
        "said['trusted'] = [dict(part[0] for part in one['subject'])['commonName']"
        " for one in ssl.create_default_context().get_ca_certs()]\n"
        "said['httplib2'] = open(httplib2.certs.where()).read().count('BEGIN CERTIFICATE')\n"
    )
    (name,) = said["trusted"]
    assert name.startswith("local_cloud ")
    assert said["httplib2"] == 1


def test_the_token_says_what_it_is(run_client: RunClient) -> None:
    said = run_client(
        "import google.auth, google.auth.transport.requests\n"
        "credentials, _ = google.auth.default(scopes=['x'])\n"
        "credentials.refresh(google.auth.transport.requests.Request())\n"
        "said['token'] = credentials.token\n"
    )
    assert said == {"token": "local-cloud-access-token"}


@pytest.mark.skipif(_STRACE is None, reason="strace is not installed")
def test_clients_connect_to_loopback_only(
    local_cloud: LocalCloud, local_bucket: str, tmp_path: Path
) -> None:
    code = "said = {}\n" + _CLIENTS + "print(said)"
    output = _traced([sys.executable, "-c", code, local_bucket], local_cloud, tmp_path)
    assert "'gcloud-aio': 'x'" in output
    assert "'compute': " in output


@pytest.mark.skipif(_STRACE is None, reason="strace is not installed")
@pytest.mark.skipif(_GCLOUD is None, reason="the gcloud command is not installed")
def test_gcloud_connects_to_loopback_only(local_cloud: LocalCloud, tmp_path: Path) -> None:
    assert _GCLOUD is not None
    _traced([_GCLOUD, "dataflow", "jobs", "list"], local_cloud, tmp_path)


def _traced(command: list[str], cloud: LocalCloud, folder: Path) -> str:
    """What a command says; fails if it connects to anything but loopback."""
    assert _STRACE is not None
    trace = folder / "trace"
    done = subprocess.run(
        [_STRACE, "-f", "-qq", "-e", "trace=connect,sendto", "-o", trace, *command],
        env={"PATH": "/usr/bin:/bin", **cloud.environment}, cwd=folder,
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    lines = [line for line in trace.read_text().splitlines() if "AF_INET" in line]
    assert any("AF_INET," in line for line in lines), "nothing was traced"
    outside = [
        line
        for line in lines
        if not re.search(r'inet_addr\("127\.|inet_pton\(AF_INET6, "(::1|::ffff:127\.)', line)
    ]
    assert not outside
    return done.stdout
