"""The sessions of a machine together take less memory than it has, and one at a time is at work."""

from __future__ import annotations

import importlib.util
import re
import sys
import threading
from importlib.machinery import ModuleSpec
from pathlib import Path

import pyarrow as pa
import pytest

from beam_jobs.engine import session as sessions
from beam_jobs.engine import states
from beam_jobs.engine.memory import AT_WORK, Machine, shown, this_machine
from beam_jobs.errors import TallyflowError
from beam_jobs.sql import plan_query

_GB = 1024**3
_COLUMNS = {"k": "BIGINT", "v": "BIGINT"}


def test_a_worker_has_a_session_for_each_of_its_processes_as_the_guide_says() -> None:
    guide = (Path(__file__).parents[2] / "docs" / "dataflow.md").read_text()
    rows = re.findall(r"(\d+), ([\d.]+) GB \| (\d+) \| (\d+) \| (\d+ ?MiB)", guide)
    assert len(rows) == 6
    for processors, memory, processes, number, session in rows:
        machine = Machine(int(float(memory) * _GB), int(processors), is_worker=True)
        assert machine.sessions == int(processes) == int(number)
        assert shown(machine.session_memory) == session.replace(" ", "")


@pytest.mark.parametrize(
    ("memory", "processors", "number", "session"),
    [
        (64, 2, 2, "2048MiB"),
        (16, 8, 8, "960MiB"),
        # A container's processors are those of its host; its memory is its own.
        (4, 64, 6, "256MiB"),
        (0.25, 4, 1, "64MiB"),
    ],
)
def test_a_local_run_has_no_more_sessions_than_its_memory_is_enough_for(
    memory: float, processors: int, number: int, session: str
) -> None:
    machine = Machine(int(memory * _GB), processors, is_worker=False)
    assert machine.sessions == number
    assert shown(machine.session_memory) == session


@pytest.mark.parametrize("is_worker", [True, False])
@pytest.mark.parametrize("processors", [1, 3, 96])
@pytest.mark.parametrize("gigabytes", [1, 4, 64, 768])
def test_all_sessions_together_leave_memory_for_what_is_beside_them(
    gigabytes: int, processors: int, *, is_worker: bool
) -> None:
    machine = Machine(gigabytes * _GB, processors, is_worker=is_worker)
    assert machine.sessions >= 1
    assert 0 < machine.sessions * machine.session_memory <= 0.6 * machine.memory


def test_this_process_is_no_worker_and_its_sessions_have_its_share() -> None:
    machine = this_machine()
    assert not machine.is_worker
    with sessions.open_session() as session:
        ((limit,),) = session.execute("SELECT current_setting('memory_limit')").fetchall()
    assert limit in {
        f"{machine.session_memory / 1024**n:.1f} {u}iB" for n, u in ((2, "M"), (3, "G"))
    }


def test_a_process_that_beam_starts_on_a_worker_knows_that_it_is_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name = "apache_beam.runners.worker.sdk_worker_main"
    beam = importlib.util.find_spec("apache_beam")
    assert beam is not None
    assert beam.origin is not None
    assert Path(beam.origin).parents[1].joinpath(*name.split(".")).with_suffix(".py").exists()
    # As `python -m` has it.
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", ModuleSpec(name, None))
    assert this_machine.__wrapped__().is_worker


def groups_of(table: pa.Table) -> set[tuple[int, int]]:
    return set(zip(*(column.to_pylist() for column in table.columns), strict=True))


def test_with_too_little_memory_a_query_spills_and_its_result_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_query("SELECT k, count(v) AS n FROM input GROUP BY k", _COLUMNS)
    number = 200_000
    keys = pa.array(range(number))
    with sessions.open_session() as session:
        session.register("rows", pa.table({"k": keys, "v": keys}))
        session.execute("CREATE TABLE input AS FROM rows")
        table = states.partial_states(session, plan, 0, "file", 0)
    enough = states.combine(plan, 0, [table, table], str(tmp_path))

    monkeypatch.setattr(sessions, "memory_limit", lambda: "18MiB")
    spilled = states.combine(plan, 0, [table, table], str(tmp_path))
    assert groups_of(spilled) == groups_of(enough) == {(key, 2) for key in range(number)}
    with pytest.raises(TallyflowError, match="need more memory than"):
        states.combine(plan, 0, [table, table])  # with no place to spill to


def test_bundles_that_a_process_is_given_at_once_work_one_after_the_other() -> None:
    plan = plan_query("SELECT k, count(v) AS n FROM input GROUP BY k", _COLUMNS)
    nothing = pa.table({"k": pa.array([], pa.int64()), "n": pa.array([], pa.int64())})
    with AT_WORK:
        # The thread at work may itself merge what it has computed.
        states.combine(plan, 0, [nothing])
        other = threading.Thread(target=states.combine, args=(plan, 0, [nothing]))
        other.start()
        other.join(0.3)
        assert other.is_alive()
    other.join(30)
    assert not other.is_alive()
