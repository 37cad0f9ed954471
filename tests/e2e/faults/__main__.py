"""Does every fault to our operator and to the provider's, and writes what became of the jobs.

``python -m tests.e2e.faults [--who ours] [ROW...]``: of all rows, or of some; the others keep in
docs/reliability.md what was measured of them before.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from tests.e2e.faults.pipeline import TOTAL
from tests.e2e.faults.playing import Outcome, play_all
from tests.e2e.faults.report import DOCUMENT, MEASURED, entry, measurements, told, updated, written
from tests.e2e.faults.rows import ROWS
from tests.e2e.faults.stand import started_stand

_VERSIONS = {
    "Airflow": "apache-airflow-core",
    "its Beam provider": "apache-airflow-providers-apache-beam",
    "its Google provider": "apache-airflow-providers-google",
    "Beam": "apache-beam",
}


class Keeper:
    """Keeps what was measured, row by row: one that breaks off loses only what is under way."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._today = datetime.now(UTC).date().isoformat()
        self._versions = {name: version(of) for name, of in _VERSIONS.items()}
        self.lost = 0

    def keep(self, outcome: Outcome) -> None:
        """Writes what has become of a row, and says it."""
        with self._lock:
            if outcome.seen is None:
                self.lost += 1
                sys.stdout.write(f"{outcome.row.id}, {outcome.who}: {outcome.error}\n")
                return
            one = entry(outcome, TOTAL, self._today)
            sys.stdout.write(f"{one.row}, {one.who}: {told(one)}\n")
            sys.stdout.flush()
            measured = updated(measurements(), [one], self._versions)
            MEASURED.write_text(measured.model_dump_json(indent=1) + "\n")
            DOCUMENT.write_text(written(DOCUMENT.read_text(), measured))


def main() -> int:
    """Measures; returns 1 if a row could not be played to its end."""
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.faults", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help="ids, such as kill-while-polling")
    parser.add_argument("--who", choices=("ours", "theirs"), help="whose operator; both")
    parser.add_argument("--at_once", type=int, default=4, help="how many runs at the same time")
    given = parser.parse_args()
    if unknown := {*given.rows} - {row.id for row in ROWS}:
        parser.error(f"there is no row {', '.join(sorted(unknown))}")
    rows = [row for row in ROWS if not given.rows or row.id in given.rows]
    keeper = Keeper()
    # Also where the machine is so busy that a heartbeat comes late, only lost tasks are lost.
    with (
        tempfile.TemporaryDirectory() as home,
        started_stand(Path(home), heartbeat_seconds=60) as stand,
    ):
        play_all(
            stand,
            [[row] for row in rows],
            (given.who,) if given.who else ("ours", "theirs"),
            at_once=given.at_once,
            tell=keeper.keep,
        )
    return 1 if keeper.lost else 0


if __name__ == "__main__":
    sys.exit(main())
