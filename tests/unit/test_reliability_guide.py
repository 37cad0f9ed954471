from __future__ import annotations

import re

from tests.e2e.faults.report import DOCUMENT, MEASURED, TESTS, Measured, table
from tests.e2e.faults.rows import CHAINS, IN_SUITE, ROWS


def test_the_table_has_all_rows_with_what_was_measured_of_them() -> None:
    text = DOCUMENT.read_text()
    assert table(Measured.model_validate_json(MEASURED.read_text())) in text
    for row in ROWS:
        assert f"| {row.fault} |" in text


def test_what_was_measured_of_our_operator_is_what_has_to_be() -> None:
    measured = Measured.model_validate_json(MEASURED.read_text())
    rows = {row.id: row for row in ROWS}
    ours = [one for one in measured.entries if one.who == "ours"]
    assert ours
    for one in ours:
        row = rows[one.row]
        found = (one.jobs, one.task, one.results, one.is_right)
        assert found == (row.jobs, row.task, row.results, True), one.row


def test_each_test_that_the_guide_names_exists() -> None:
    text = DOCUMENT.read_text()
    named = set(re.findall(r"`(tests/\S+\.py)::(\w+)`", text))
    assert named
    for file, function in named:
        assert f"def {function}(" in (DOCUMENT.parents[1] / file).read_text(), function
    assert TESTS in {file for file, _ in named}


def test_no_row_is_there_twice_and_each_run_of_the_suite_is_of_one_mode() -> None:
    assert len({row.id for row in ROWS}) == len(ROWS)
    assert len(IN_SUITE) == sum(len(chain) for chain in CHAINS)
    for chain in CHAINS:
        assert len({row.settings.deferred for row in chain}) == 1
        assert not any(row.is_final for row in chain[:-1])
