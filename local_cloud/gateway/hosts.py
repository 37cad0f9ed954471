"""Which service answers for which host of Google's; every other host is refused."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

_HOSTS = {
    "storage.googleapis.com": "storage",
    "dataflow.googleapis.com": "dataflow",
    "bigquery.googleapis.com": "bigquery",
    "oauth2.googleapis.com": "identity",
    "accounts.google.com": "identity",
    "iamcredentials.googleapis.com": "identity",
    "cloudresourcemanager.googleapis.com": "identity",
}
# The bucket's name as part of the host.
_STORAGE_SUFFIX = ".storage.googleapis.com"
# The old name of many APIs: the path says which.
_SHARED_HOST = "www.googleapis.com"
_SHARED_PATHS = {
    "/bigquery/": "bigquery",
    "/upload/bigquery/": "bigquery",
    "/batch/bigquery/": "bigquery",
    "/storage/": "storage",
    "/upload/storage/": "storage",
    "/download/storage/": "storage",
    "/batch/storage/": "storage",
    "/oauth2/": "identity",
}
# Where the metadata server of a virtual machine is.
METADATA_HOSTS = ("metadata.google.internal", "metadata", "169.254.169.254")

CERTIFIED_HOSTS = (*_HOSTS, "*" + _STORAGE_SUFFIX, _SHARED_HOST)


@dataclass(frozen=True)
class Backend:
    """Where the bytes of a connection go.

    Attributes:
        port: Of loopback, over HTTP/1.1.
        http2_port: The same for clients that speak HTTP/2, as those of gRPC do.
    """

    port: int
    http2_port: int | None = None


@dataclass(frozen=True)
class Hosts:
    """The hosts that can be reached.

    Attributes:
        backends: By service: ``storage``, ``dataflow``, ``bigquery`` and ``identity``. A service
            that does not run has none.
        pass_through: Hosts that are what they are, not Google's.
    """

    backends: Mapping[str, Backend]
    pass_through: Collection[str]

    def backend(self, host: str, path: str | None = None) -> Backend | None:
        """What answers for a host; None for a host that is refused.

        Args:
            host: In lower case.
            path: Of the request, for a host for which `needs_path` holds.
        """
        service = _HOSTS.get(host)
        if host.endswith(_STORAGE_SUFFIX):
            service = "storage"
        if needs_path(host) and path is not None:
            found = (name for prefix, name in _SHARED_PATHS.items() if path.startswith(prefix))
            service = next(found, None)
        return self.backends.get(service) if service else None

    def refusal(self, host: str) -> str:
        """Why a host is refused, for its user."""
        return (
            f"The local cloud has nothing that answers for {host}, and lets nothing through to the"
            " real one, so that no real project can be reached."
            + ("" if is_google(host) else f" To let this host through: up --pass_through {host}")
        )


def needs_path(host: str) -> bool:
    """Whether it takes the path of a request to know what answers for its host."""
    return host == _SHARED_HOST


def is_google(host: str) -> bool:
    """Whether a host is one of Google's, which are never let through."""
    return host.lower().rstrip(".").endswith(
        ("googleapis.com", "google.com", "google.internal", "googleusercontent.com", "gcr.io",
         "pkg.dev", "run.app", "cloudfunctions.net", "goog")
    )  # fmt: skip
