"""Whom a failure is told, and what is not told with it."""

from __future__ import annotations

import traceback
from types import SimpleNamespace
from typing import Any

import pytest
import requests

from tallyflow import alerts

HIDDEN = "T0HIDDEN"


@pytest.fixture
def posted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is sent to Slack."""
    texts: list[str] = []

    def post(_: str, json: dict[str, str], timeout: float) -> Any:
        assert timeout > 0
        texts.append(json["text"])
        return SimpleNamespace(ok=True)

    monkeypatch.setattr(requests, "post", post)
    return texts


@pytest.fixture(autouse=True)
def _slack(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TALLYFLOW_NOTIFY", "slack")
    connect(monkeypatch, f"http://127.0.0.1:1/services/{HIDDEN}")


def connect(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """Make an address that of the webhook."""
    found = SimpleNamespace(password=address, host=None)
    monkeypatch.setattr(alerts, "BaseHook", SimpleNamespace(get_connection=lambda _: found))


@pytest.mark.parametrize("address", [f"http://127.0.0.1:1/{HIDDEN}", f"{HIDDEN}.no/url", ""])
def test_an_address_that_cannot_be_reached_is_not_told(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    connect(monkeypatch, address)
    with pytest.raises(RuntimeError, match="see the Airflow connection tallyflow_slack") as caught:
        alerts.tell("flights_daily failed", "why")
    assert HIDDEN not in "".join(traceback.format_exception(caught.value))


def test_a_message_names_nobody_and_links_nowhere(posted: list[str]) -> None:
    alerts.tell("flights_daily failed", "Run x: <!channel> & <https://example.org|click>")
    assert posted == [
        "*flights_daily failed*\nRun x: &lt;!channel&gt; &amp; &lt;https://example.org|click&gt;"
    ]
