"""A file's blocks hold all of it once, however they are cut."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from beam_jobs import blocks
from beam_jobs.blocks import read_blocks
from beam_jobs.errors import InputError
from beam_jobs.files import InputFile
from beam_jobs.layout import Layout, counts_layout
from beam_jobs.reports import Reject
from beam_jobs.session import open_session

_TEXT = Layout("text", {"line": "VARCHAR"})


def read_lines(path: Path) -> tuple[list[str], int, list[Reject]]:
    """Return the lines, the number of blocks, and the rejects."""
    lines: list[str] = []
    rejects: list[Reject] = []
    count = 0
    session = open_session()
    for report in read_blocks(session, InputFile(str(path), 0), _TEXT):
        count += 1
        found = session.execute("SELECT line FROM input").fetchall()
        assert report.rows == len(found)
        lines += [line for (line,) in found]
        rejects += report.rejects
    return lines, count, rejects


@given(
    content=st.text(st.sampled_from("ab\n\r é"), max_size=30).map(str.encode),
    size=st.integers(1, 12),
)
@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_block_size_gives_the_same_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, size: int
) -> None:
    path = tmp_path / "f.txt"
    path.write_bytes(content)
    monkeypatch.setattr(blocks, "_TEXT_BLOCK_BYTES", size)
    lines, _, rejects = read_lines(path)
    ended = content.split(b"\n")
    expected = [line.removesuffix(b"\r") for line in (ended if ended[-1] else ended[:-1])]
    # A last line without \n keeps nothing of a line end either.
    assert [line.encode() for line in lines] == expected
    assert rejects == []
    session = open_session()
    (report,) = read_blocks(session, InputFile(str(path), 0), counts_layout())
    assert session.execute("SELECT lines, bytes FROM input").fetchall() == [
        (len(expected), len(content))
    ]
    assert report.rows == len(expected)


def test_lines_are_numbered_through_the_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "_TEXT_BLOCK_BYTES", 4)
    path = tmp_path / "f.txt"
    path.write_bytes(b"a\nbb\n\nccccccccc\nx\xff\nd\r\n\xff")
    lines, count, rejects = read_lines(path)
    assert lines == ["a", "bb", "", "ccccccccc", "d"]
    assert count > 2
    assert [(reject.file, reject.line) for reject in rejects] == [(str(path), 5), (str(path), 7)]


def test_an_empty_text_file_has_no_lines(tmp_path: Path) -> None:
    (tmp_path / "f.txt").touch()
    assert read_lines(tmp_path / "f.txt")[0] == []


def test_a_text_file_that_is_truncated_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "f.txt.gz"
    path.write_bytes(gzip.compress(b"line\n" * 1000)[:-4])
    with pytest.raises(InputError, match=r"f\.txt\.gz: cannot be read: .*truncated"):
        read_lines(path)


@pytest.mark.parametrize(
    "name", ["[x]/a[1].csv", "a*.csv", "a?.csv", "date=1/{a,b}.csv", 'it\'s "odd" #1 100%.csv']
)
@pytest.mark.parametrize("compressed", [False, True])
def test_a_csv_file_of_any_name_is_one_block_and_no_other_file_is_read(
    tmp_path: Path, name: str, compressed: bool
) -> None:
    path = tmp_path / (name + ".gz" if compressed else name)
    path.parent.mkdir(exist_ok=True)
    data = b"a,b\n1,right\n"
    path.write_bytes(gzip.compress(data) if compressed else data)
    (path.parent / "a1.csv").write_bytes(b"a,b\n1,wrong\n")
    layout = Layout("csv", {"a": "BIGINT", "b": "VARCHAR"})
    session = open_session()
    found = [
        session.execute("SELECT a, b, filename FROM input").fetchall()
        for _ in read_blocks(session, InputFile(str(path), 0), layout)
    ]
    assert found == [[(1, "right", str(path))]]
