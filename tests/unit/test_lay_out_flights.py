from __future__ import annotations

import csv
import io
from pathlib import Path

from demo.lay_out_flights import days, lay_out_flights


def test_each_day_has_all_its_flights_and_no_others() -> None:
    flights = 0
    seen = set()
    for day, content in days():
        assert day not in seen
        seen.add(day)
        for row in csv.DictReader(io.StringIO(content.decode())):
            assert f"{row['year']}-{row['month']:0>2}-{row['day']:0>2}" == day
            flights += 1
    assert flights == 336_776
    assert (len(seen), min(seen), max(seen)) == (365, "2013-01-01", "2013-12-31")


def test_files_are_completed_and_those_that_are_there_stay(tmp_path: Path) -> None:
    assert lay_out_flights(tmp_path) == 365
    whole, cut, gone = sorted(tmp_path.glob("flights/date=*/flights.csv"))[:3]
    content, written = cut.read_bytes(), whole.stat().st_mtime_ns
    cut.write_bytes(content[:1000])
    gone.unlink()

    assert lay_out_flights(tmp_path) == 365

    assert cut.read_bytes() == content
    assert whole.stat().st_mtime_ns == written
    assert len(list(tmp_path.rglob("*"))) == 1 + 2 * 365
    assert b",NA," in content
