"""Plays rows: each in a run of its own, or several, one after the other, in one run."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial

from tests.e2e.faults.play import Play, Seen, Settings, Who
from tests.e2e.faults.rows import Component, Row
from tests.e2e.faults.stand import Stand

_COMPONENTS: tuple[Component, ...] = ("api-server", "triggerer", "scheduler")


def settings_of(rows: Sequence[Row]) -> Settings:
    """What the run of some rows has to be like; it is where the first of them asks for."""
    return Settings(
        deferred=rows[0].settings.deferred,
        is_limited=any(row.settings.is_limited for row in rows),
        is_held_back=any(row.settings.is_held_back for row in rows),
        fails=any(row.settings.fails for row in rows),
        region=rows[0].settings.region,
    )


@dataclass(frozen=True)
class Outcome:
    """What has become of a row.

    Attributes:
        row: Which.
        who: Whose operator.
        before: What was to be seen before the fault; None if it was the run's first.
        seen: What was to be seen when it was over.
        is_end: Whether the run had ended then.
        error: Why it could not be played; empty if it could.
    """

    row: Row
    who: Who
    before: Seen | None = None
    seen: Seen | None = None
    is_end: bool = True
    error: str = ""


@dataclass(eq=False)
class Chain:
    """Rows that are played one after the other in one run.

    Attributes:
        rows: They; only the last one may be final.
        play: The run.
        tell: Is told of each row that is over.
        outcomes: Of those that were played.
        is_over: Whether the run has ended, or could not go on.
    """

    rows: Sequence[Row]
    play: Play
    tell: Callable[[Outcome], None]
    outcomes: list[Outcome] = field(default_factory=list)
    is_over: bool = False

    def begin(self) -> None:
        """Starts the run, and plays all rows before the first one of a component."""
        self._guarded(self._start, self.rows[0])
        self._play_on(0)

    def _start(self) -> None:
        for row in self.rows:
            row.prepare(self.play)
        self.play.start()

    def _play_on(self, first: int) -> None:
        for row in self.rows[first:]:
            if self.is_over:
                return
            if row.component is not None:
                self._guarded(self.play.until_it_waits, row)
                return
            self._guarded(partial(self._inject, row), row)

    def _inject(self, row: Row) -> None:
        before = None if row is self.rows[0] else self.play.seen()
        row.inject(self.play)
        self._get_over(row, before)

    def _get_over(self, row: Row, before: Seen | None) -> None:
        is_last = row is self.rows[-1]
        if not row.is_final:
            self.play.until_it_has_got_over(in_the_same_try=row.is_ridden_out)
        seen = self.play.seen()
        if row.is_final or is_last:
            end = self.play.until_over(is_held=row.is_held)
            seen = end if row.is_final else replace(end, seconds=seen.seconds)
            self.is_over = True
        self._keep(Outcome(row, self.play.who, before, seen, self.is_over))

    def _keep(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        self.tell(outcome)

    def row_of(self, component: Component) -> Row | None:
        """The row in which this component is killed, if the run is still to meet it."""
        rows = [] if self.is_over else self.rows
        played = {outcome.row.id for outcome in self.outcomes}
        left = (row for row in rows if row.id not in played)
        return next((row for row in left if row.component == component), None)

    def outlive(self, row: Row, before: Seen) -> None:
        """Sees what becomes of the run after a component was killed and has come back."""
        first = row is self.rows[0]
        self._guarded(lambda: self._get_over(row, None if first else before), row)
        self._play_on(self.rows.index(row) + 1)

    def _guarded(self, what: Callable[[], None], row: Row) -> None:
        try:
            what()
        except Exception:  # noqa: BLE001 - one run that goes wrong spoils no other
            self.is_over = True
            error = traceback.format_exc(limit=-3)
            self._keep(Outcome(row, self.play.who, error=error))
            self.play.go_on()


def play_all(
    stand: Stand,
    chains: Iterable[Sequence[Row]],
    operators: Sequence[Who],
    *,
    at_once: int,
    tell: Callable[[Outcome], None] = lambda _: None,
    before_components: Callable[[], object] = lambda: None,
) -> list[Outcome]:
    """Plays chains of rows: the harmless ones side by side, then what harms all runs.

    Args:
        stand: Where.
        chains: The rows of each run.
        operators: Whose operators.
        at_once: How many runs.
        tell: Is told of each row that is over.
        before_components: Is called, and waited for, before parts of Airflow are killed.
    """
    runs = [
        Chain(rows, Play(stand, f"{who}-{rows[0].id}", who, settings_of(rows)), tell)
        for rows in chains
        for who in operators
    ]
    # Ours has to endure the others' faults too.
    alone = [run for run in runs if "theirs" in operators and run.rows[0].is_alone]
    shaken = [run for run in runs if any(row.component for row in run.rows)]
    calm = [run for run in runs if run not in alone and run not in shaken]

    with ThreadPoolExecutor(at_once) as pool:
        list(pool.map(Chain.begin, calm))
        # Later: while they wait, their jobs take the places of the others'.
        list(pool.map(Chain.begin, shaken))
        before_components()
        for component in _COMPONENTS:
            _shake(stand, component, shaken, pool)
    for run in alone:
        run.begin()
    return [outcome for run in runs for outcome in run.outcomes]


def _shake(
    stand: Stand, component: Component, runs: Sequence[Chain], pool: ThreadPoolExecutor
) -> None:
    """Kills a component, and starts it again, while runs wait."""
    met = [(run, row, run.play.seen()) for run in runs if (row := run.row_of(component))]
    if not met:
        return
    for run, _, _ in met:
        run.play.begins(kills_triggerer=component == "triggerer")
    stand.restart(component)
    list(pool.map(lambda one: one[0].outlive(one[1], one[2]), met))
