"""The variables that make any client use a local cloud, and nothing else."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path

import certifi

from local_cloud.files import Files
from local_cloud.settings import (
    DEFAULT_REGION,
    HOST,
    POSTGRES_DATABASE,
    POSTGRES_USER,
    Settings,
)

# Says of an environment which local cloud's it is.
DIRECTORY = "LOCAL_CLOUD_DIRECTORY"
# Where the values that clients had before are kept, for what must reach the real network: the
# workers' package installer.
OUTER_PREFIX = "LOCAL_CLOUD_OUTER_"
_PROXIES = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy",
            "grpc_proxy")  # fmt: skip
_NO_PROXIES = ("NO_PROXY", "no_proxy", "no_grpc_proxy")
_BUNDLES = (
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_FILE",
    "CURL_CA_BUNDLE",
    "HTTPLIB2_CA_CERTS",
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
    "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE",
    "AWS_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
)
_LOOPBACK = "localhost,127.0.0.1,::1"


def client_environment(
    files: Files, settings: Settings, outer: Mapping[str, str]
) -> dict[str, str]:
    """What is to be set in a client's environment.

    Args:
        files: Where keys and certificates are.
        settings: Name the ports and the projects.
        outer: The environment that the client would have otherwise.
    """
    project = settings.projects[0]
    gateway = settings.url("gateway")
    metadata = gateway.removeprefix("http://")
    direct = _LOOPBACK if settings.host == HOST else f"{_LOOPBACK},{settings.host}"
    key, trusted = str(files.service_account), str(files.trusted)
    variables = {
        DIRECTORY: str(files.directory),
        "GOOGLE_CLOUD_PROJECT": project,
        "GOOGLE_APPLICATION_CREDENTIALS": key,
        # In case a client does without the key file.
        "GCE_METADATA_HOST": metadata,
        "GCE_METADATA_ROOT": metadata,
        "GCE_METADATA_IP": metadata,
        "CLOUDSDK_CONFIG": str(files.gcloud),
        "CLOUDSDK_ACTIVE_CONFIG_NAME": "default",
        "CLOUDSDK_CORE_PROJECT": project,
        "CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE": key,
        "CLOUDSDK_DATAFLOW_REGION": DEFAULT_REGION,
        "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "true",
        "CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK": "true",
        "AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT": json.dumps(
            {"conn_type": "google_cloud_platform", "extra": {"project": project}}
        ),
        "SSL_CERT_DIR": str(files.trusted.parent),
        **dict.fromkeys(_BUNDLES, trusted),
        **dict.fromkeys(_PROXIES, gateway),
        **dict.fromkeys(_NO_PROXIES, direct),
    }
    if "storage" in settings.services:
        variables |= _storage(settings.url("storage"))
    if "bigquery" in settings.services:
        variables["BIGQUERY_EMULATOR_HOST"] = settings.url("bigquery")
    if "postgres" in settings.services:
        variables["LOCAL_CLOUD_POSTGRES_URL"] = postgres_url(files, settings)
    return variables | _kept(outer)


def format_environment(variables: Mapping[str, str]) -> str:
    """The variables as a file that a shell can source, and most readers of env files can read."""
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in variables.items())


def outer_bundle(outer: Mapping[str, str]) -> Path:
    """The authorities that a client would trust outside of the local cloud."""
    before = {name.removeprefix(OUTER_PREFIX): value for name, value in _kept(outer).items()}
    named = (before.get(name) for name in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"))
    return Path(next((path for path in named if path), certifi.where()))


def postgres_url(files: Files, settings: Settings) -> str:
    """Airflow's database, for SQLAlchemy: a driver can be named after ``postgresql``."""
    password = files.postgres_password.read_text()
    port = settings.ports["postgres"]
    return f"postgresql://{POSTGRES_USER}:{password}@{HOST}:{port}/{POSTGRES_DATABASE}"


def _kept(outer: Mapping[str, str]) -> dict[str, str]:
    if DIRECTORY in outer:  # Set by a local cloud already: what it kept is what was there before.
        return {name: value for name, value in outer.items() if name.startswith(OUTER_PREFIX)}
    return {OUTER_PREFIX + name: outer[name] for name in replaced() if name in outer}


def replaced() -> tuple[str, ...]:
    """The variables of which the clients' own values are kept with `OUTER_PREFIX`."""
    return (*_PROXIES, *_NO_PROXIES, *_BUNDLES, "SSL_CERT_DIR")


def _storage(url: str) -> dict[str, str]:
    return {
        "STORAGE_EMULATOR_HOST": url,
        "CLOUD_STORAGE_EMULATOR_ENDPOINT": url,  # pyarrow
        "GOOGLE_BASE_URL": url,  # obstore
        "GOOGLE_ALLOW_HTTP": "true",
        "GOOGLE_BEARER_TOKEN": "local",  # else it asks the metadata server's fixed address
        # Without it gcsfs asks, over gRPC, what kind of bucket it has, and waits for ever.
        "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
    }
