"""What was measured, kept as a document, and as the table of docs/reliability.md."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from demo.local_airflow import ROOT
from tests.e2e.faults.playing import Outcome
from tests.e2e.faults.rows import IN_SUITE, ROWS, Row

DOCUMENT = ROOT / "docs" / "reliability.md"
MEASURED = Path(__file__).with_name("measured.json")
TESTS = "tests/e2e/test_faults.py"
_BEGIN, _END = "<!-- measured: begin -->", "<!-- measured: end -->"


class Entry(BaseModel):
    """What became of one row with one operator.

    Attributes:
        row: The row's id.
        who: Whose operator.
        jobs: The states of the jobs, the oldest first; those that ran on had to be cancelled.
        task: The task's state.
        results: How many jobs have written a result.
        is_right: Whether each result is the right number.
        tries: How often the task was tried.
        seconds: From the fault to the task's end.
        date: Of the measurement.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    row: str
    who: Literal["ours", "theirs"]
    jobs: tuple[str, ...]
    task: str
    results: int
    is_right: bool
    tries: int
    seconds: float
    date: str


class Measured(BaseModel):
    """All that was measured.

    Attributes:
        versions: Of what took part.
        entries: Two for each row.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    versions: dict[str, str]
    entries: list[Entry]

    def of(self, row: str, who: str) -> Entry | None:
        """What became of a row with an operator; None if it was not measured."""
        return next((one for one in self.entries if (one.row, one.who) == (row, who)), None)


def entry(outcome: Outcome, total: int, date: str) -> Entry:
    """What is kept of an outcome that was seen to the end."""
    seen = outcome.seen
    assert seen is not None
    return Entry(
        row=outcome.row.id,
        who=outcome.who,
        jobs=seen.jobs,
        task=str(seen.task),
        results=len(seen.sums),
        is_right=all(one == total for one in seen.sums),
        tries=seen.tries,
        seconds=round(seen.seconds),
        date=date,
    )


def measurements() -> Measured | None:
    """What is kept; None if nothing is."""
    return Measured.model_validate_json(MEASURED.read_text()) if MEASURED.exists() else None


def updated(old: Measured | None, new: Iterable[Entry], versions: dict[str, str]) -> Measured:
    """What is kept when some rows were measured anew."""
    entries = {(one.row, one.who): one for one in (old.entries if old else [])}
    entries |= {(one.row, one.who): one for one in new}
    order = [(row.id, who) for row in ROWS for who in ("ours", "theirs")]
    return Measured(versions=versions, entries=[entries[key] for key in order if key in entries])


def told(one: Entry | None) -> str:
    """An entry in the words of the table."""
    if one is None:
        return "not measured"
    count = len(one.jobs)
    parts = [f"{count} job{'' if count == 1 else 's'}" + (f": {_states(one)}" if count else "")]
    parts.append(f"task {one.task}")
    if not one.is_right:
        parts.append("**result wrong**")
    elif one.results > 1:
        parts.append(f"**{one.results} jobs wrote the result**")
    else:
        parts.append("result right" if one.results else "no result")
    return f"{'; '.join(parts)} ({one.seconds:.0f} s)"


def _states(one: Entry) -> str:
    counts = Counter(one.jobs)
    return ", ".join(
        (f"{count} " if count > 1 else "")
        + (state.lower() if state in _ENDED else "**left running**")
        for state, count in counts.items()
    )


_ENDED = {"DONE", "FAILED", "CANCELLED"}


def table(measured: Measured) -> str:
    """The table of all rows."""
    lines = ["| fault | `BeamJobOperator` | the provider's operator | test |", "|---|---|---|---|"]
    lines += [
        f"| {row.fault} | {told(measured.of(row.id, 'ours'))} "
        f"| {told(measured.of(row.id, 'theirs'))} | {_test(row)} |"
        for row in ROWS
    ]
    dates = sorted({one.date for one in measured.entries})
    when = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
    versions = ", ".join(f"{name} {version}" for name, version in measured.versions.items())
    return "\n".join([*lines, "", f"Measured on {when} with {versions}."])


def _test(row: Row) -> str:
    return f"`{row.id}`" if row.id in IN_SUITE else "measured only"


def written(text: str, measured: Measured) -> str:
    """The document with the table in its place."""
    pattern = re.compile(f"{re.escape(_BEGIN)}.*{re.escape(_END)}", re.S)
    return pattern.sub(lambda _: f"{_BEGIN}\n{table(measured)}\n{_END}", text)
