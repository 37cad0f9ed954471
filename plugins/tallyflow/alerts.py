"""Tells people when a run failed, or a partition is late, in the way that the settings say."""

from __future__ import annotations

import asyncio
import html
import logging
from typing import TYPE_CHECKING, Any

import requests
from airflow.sdk import BaseHook

from tallyflow.settings import Settings

if TYPE_CHECKING:
    from airflow.sdk import Context

_LOG = logging.getLogger(__name__)

# The Airflow connection whose password, or else host, is the address of Slack's incoming webhook.
SLACK_CONNECTION = "tallyflow_slack"
_TIMEOUT_SECONDS = 10


def tell(subject: str, text: str) -> None:
    """Sends a message to whoever the settings name; what is sent is in the log, too."""
    settings = Settings.from_environ()
    _LOG.warning("%s: %s", subject, text)
    if settings.notify == "slack":
        # Slack would take names of people and channels, and links, from what a file or a form says.
        _post_to_slack(f"*{subject}*\n{html.escape(text, quote=False)}")
    elif settings.notify == "email":
        _send_email(settings.notify_email or "", subject, text)


def _post_to_slack(text: str) -> None:
    connection = BaseHook.get_connection(SLACK_CONNECTION)
    webhook = connection.password or connection.host or ""
    # The messages of requests, as that of raise_for_status, have the address, which is a secret.
    try:
        response = requests.post(webhook, json={"text": text}, timeout=_TIMEOUT_SECONDS)
    except requests.RequestException as error:
        raise RuntimeError(
            f"Slack cannot be told: {type(error).__name__}; see the Airflow connection "
            f"{SLACK_CONNECTION}"
        ) from None
    if not response.ok:
        raise RuntimeError(f"Slack answered {response.status_code}: {response.text[:200]}")


def _send_email(address: str, subject: str, text: str) -> None:
    from airflow.providers.smtp.hooks.smtp import SmtpHook  # noqa: PLC0415 - takes 0.2 s

    with SmtpHook() as smtp:
        smtp.send_email_smtp(
            to=address, subject=subject, html_content=f"<pre>{html.escape(text)}</pre>"
        )


def run_failed(context: Context) -> None:
    """The ``on_failure_callback`` of every DAG."""
    run = context["dag_run"]
    reason = context.get("reason") or context.get("exception") or "see the run's failed task"
    tell(f"{run.dag_id} failed", f"Run {run.run_id}: {reason}")


async def partition_is_late(dataset: str, ready_by: str, context: dict[str, Any]) -> None:
    """The callback of a dataset's deadline, run by the triggerer.

    Args:
        dataset: Its name.
        ready_by: When its partition had to be published.
        context: What Airflow says of the run.
    """
    run = context["dag_run"]
    text = (
        f"Run {run['dag_run_id']} has not published its partition by {ready_by}; it is "
        f"{run['state']}."
    )
    await asyncio.to_thread(tell, f"{dataset} is late", text)
