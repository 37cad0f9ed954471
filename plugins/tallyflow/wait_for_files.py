"""The task that waits for the files of a partition, without a worker while it waits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import BaseOperator, Context
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
from airflow.triggers.base import BaseTrigger, TriggerEvent

from beam_jobs.errors import TallyflowError
from tallyflow.awaited import Awaited, Found

# Between two looks: a listing each, by a trigger that there may be a thousand of.
LOOK_EVERY = timedelta(seconds=60)
_FIRST_LOOK_SECONDS = 5.0


class FilesTrigger(BaseTrigger):
    """Fires when what is waited for has come, or the time is up.

    Args:
        awaited: The fields of an `Awaited`.
        until: When to give up, in ISO format with its offset.
        every: Seconds between two looks.
    """

    def __init__(self, awaited: dict[str, Any], until: str, every: float) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.awaited = awaited
        self.until = until
        self.every = every

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """What the triggerer makes the trigger of."""
        arguments = {"awaited": self.awaited, "until": self.until, "every": self.every}
        return "tallyflow.wait_for_files.FilesTrigger", arguments

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Looks until the files are there, or the time is up."""
        awaited, until = Awaited(**self.awaited), datetime.fromisoformat(self.until)
        # Not at once: the task has just looked, and one that goes on before the scheduler has heard
        # of its being deferred is taken for one that ended wrongly.
        await asyncio.sleep(min(self.every, _FIRST_LOOK_SECONDS))
        while True:
            now = datetime.now(UTC)
            try:
                found = await asyncio.to_thread(awaited.look, now)
            except TallyflowError as error:
                # A listing that failed is no answer; the next one may be.
                self.log.warning("%s", error)
                found = Found(is_complete=False, files=None, text=str(error))
            if found.is_complete or now >= until:
                yield TriggerEvent(asdict(found))  # type: ignore[no-untyped-call]
                return
            self.log.info("%s", found.text)
            remaining = (until - datetime.now(UTC)).total_seconds()
            await asyncio.sleep(max(0.0, min(self.every, remaining)))


class WaitForFiles(BaseOperator):
    """Waits until the files of a partition are there.

    Args:
        pattern: Of the files, absolute; templated.
        marker: See `Awaited`; templated.
        files: See `Awaited`.
        unchanged_minutes: See `Awaited`.
        patience: How long to wait at most; None to look once.
        when_missing: What to do where there is no file at all: ``fail``, ``skip`` the run, or go on
            to ``publish_empty`` results. Files that are there, but are not complete, fail.
        locate: Makes absolute what the form says in place of the pattern. Such files are there, or
            not: they are not waited for.
        look_every: Between two looks.
    """

    template_fields: Sequence[str] = ("pattern", "marker")

    def __init__(
        self,
        *,
        pattern: str,
        marker: str | None = None,
        files: int | None = None,
        unchanged_minutes: int | None = None,
        patience: timedelta | None = None,
        when_missing: str = "fail",
        locate: Callable[[str], str] = str,
        look_every: timedelta = LOOK_EVERY,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.pattern = pattern
        self.marker = marker
        self.files = files
        self.unchanged_minutes = unchanged_minutes
        self.patience = patience
        self.when_missing = when_missing
        self.locate = locate
        self.look_every = look_every

    def execute(self, context: Context) -> None:
        """Looks once, and lets the triggerer go on if it is too early.

        Raises:
            AirflowFailException: There are no files, or not all, and the task does not wait.
            AirflowSkipException: There are none, and the dataset skips such partitions.
        """
        if other := context["params"].get("pattern"):
            found = Awaited(self.locate(other)).look(datetime.now(UTC))
            if not found.files:
                # What the form says is mistyped, which is no reason to publish an empty result.
                raise AirflowFailException(f"{found.text}, which the form says; trigger it anew")
            self.log.info("%s", found.text)
            return
        awaited = Awaited(self.pattern, self.marker, self.files, self.unchanged_minutes)
        found = awaited.look(datetime.now(UTC))
        if found.is_complete or self.patience is None:
            self._conclude(found)
            return
        self.log.info("Waiting: %s", found.text)
        until = datetime.now(UTC) + self.patience
        self.defer(
            trigger=FilesTrigger(
                asdict(awaited), until.isoformat(), self.look_every.total_seconds()
            ),
            method_name="conclude",
        )

    def conclude(self, context: Context, event: dict[str, Any]) -> None:  # noqa: ARG002
        """Goes on after the trigger has fired; raises as `execute` does."""
        self._conclude(Found(**event))

    def _conclude(self, found: Found) -> None:
        if found.is_complete and (found.files or self.when_missing == "publish_empty"):
            self.log.info("%s", found.text)
            return
        waited = "" if self.patience is None else f" after {self.patience}"
        if found.files == 0 and self.when_missing == "skip":
            raise AirflowSkipException(f"{found.text}{waited}: nothing to compute")
        if found.files == 0 and self.when_missing == "publish_empty":
            self.log.warning("%s%s: the results will be empty", found.text, waited)
            return
        raise AirflowFailException(
            f"{found.text}{waited}. Run the DAG for this date when they are there, or change "
            "`pattern`, `wait` or `when_missing` in the dataset's file."
        )
