"""Calls of our own to services on loopback, which no proxy of the environment may see."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from http import HTTPStatus
from typing import Any

from local_cloud.settings import LocalCloudError, Settings

_SECONDS = 30
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def call(method: str, url: str, document: Any = None) -> Any:
    """Calls a service.

    Args:
        method: Of HTTP.
        url: On loopback.
        document: What is sent, as JSON.

    Returns:
        The document of the answer; None if it has none.

    Raises:
        urllib.error.HTTPError: The service answered with an error.
        LocalCloudError: It does not answer.
    """
    body = None if document is None else json.dumps(document).encode()
    headers = {} if body is None else {"Content-Type": "application/json"}
    request = urllib.request.Request(url, body, headers, method=method)  # noqa: S310 - loopback
    try:
        with _DIRECT.open(request, timeout=_SECONDS) as answer:
            content = answer.read()
    except urllib.error.HTTPError:
        raise
    except OSError as error:
        raise LocalCloudError(f"{url} does not answer: {error}") from None
    return json.loads(content) if content else None


def make_bucket(settings: Settings, name: str) -> None:
    """Makes a bucket in the default project, unless it is there.

    Raises:
        LocalCloudError: The storage refuses it, such as for its name.
    """
    url = f"{settings.url('storage')}/storage/v1/b?project={settings.projects[0]}"
    try:
        call("POST", url, {"name": name})
    except urllib.error.HTTPError as error:
        if error.code != HTTPStatus.CONFLICT:
            raise LocalCloudError(f"Bucket {name!r} cannot be made: {message(error)}") from None


def message(error: urllib.error.HTTPError) -> str:
    """What a service says is wrong."""
    content = error.read()
    try:
        text: str = json.loads(content)["error"]["message"]
    except (ValueError, KeyError, TypeError):
        return content.decode(errors="replace") or str(error)
    return text
