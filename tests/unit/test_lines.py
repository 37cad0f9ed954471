"""Every line of a text is in ``input`` without its end, wherever the file is cut."""

from __future__ import annotations

import gzip
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from beam_jobs.engine import parts
from beam_jobs.engine.parts import Part, Piece, Share
from beam_jobs.engine.reports import BlockReport
from beam_jobs.errors import InputError
from beam_jobs.files import InputFile
from beam_jobs.formats import lines
from beam_jobs.formats.layout import Layout, counts_layout
from beam_jobs.formats.lines import load_text
from tests.unit.reading import Reading

_TEXT = Layout("text", {"line": "VARCHAR"})


def load_lines(block: bytes, *, is_first: bool = True) -> tuple[list[str], BlockReport]:
    part = Part(0, InputFile("f.txt", len(block)), 0, len(block))
    table, report = load_text(Piece(part, bytearray(block), is_first))
    return [str(line) for line in table.column("line").to_pylist()], report


@given(st.lists(st.text(st.sampled_from("xé\r\0 "), max_size=4)), st.sampled_from(["\n", "\r\n"]))
@settings(deadline=None)
def test_lines_lose_their_end_and_nothing_else(texts: list[str], end: str) -> None:
    block = "".join(text + end for text in texts)
    # Of a first block, NULs in every other place would be UTF-16.
    found, report = load_lines(block.encode(), is_first=False)
    assert found == (texts if end == "\r\n" else [text.removesuffix("\r") for text in texts])
    assert (report.rows, report.lines) == (len(texts), len(texts))


def test_a_last_line_without_an_end_is_a_line() -> None:
    assert load_lines(b"a\n\nb")[0] == ["a", "", "b"]
    assert load_lines(b"")[0] == []


def test_lines_that_are_not_utf8_are_rejects_with_their_number() -> None:
    found, report = load_lines(b"a\nb\xff\nc\n\xed\xa0\x80")
    assert found == ["a", "c"]
    assert (report.rows, report.reject_count, report.lines) == (2, 2, 4)
    assert [(reject.line, reject.text) for reject in report.rejects] == [
        (2, "b\ufffd"),
        (4, "\ufffd\ufffd\ufffd"),
    ]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_text_that_is_utf16_is_an_error_that_says_so(encoding: str) -> None:
    with pytest.raises(InputError, match=r"^f\.txt: line 1: the file is UTF-16 .*UTF-8$"):
        load_lines("one\ntwo\n".encode(encoding))


def test_a_character_cut_by_a_line_end_is_two_rejects() -> None:
    found, report = load_lines(b"\xc3\n\xa9\nok\n")
    assert found == ["ok"]
    assert report.reject_count == 2


@given(
    content=st.text(st.sampled_from("ab\n\r é"), max_size=30).map(str.encode),
    size=st.integers(4, 12),
    bom=st.sampled_from([b"", b"\xef\xbb\xbf"]),
)
@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_no_block_size_and_no_cut_changes_a_line(
    tmp_path: Path, content: bytes, size: int, bom: bytes
) -> None:
    path = tmp_path / "f.txt"
    path.write_bytes(bom + content)
    ended = content.split(b"\n")
    expected = [
        (text.removesuffix(b"\r").decode(),) for text in (ended if ended[-1] else ended[:-1])
    ]
    reading = Reading(path, _TEXT)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "_LOOK_BYTES", 2)
        patch.setattr(parts, "BLOCK_BYTES", size)
        assert reading.whole()[0] == expected
        for cut in range(len(bom) + 1, path.stat().st_size):
            found = reading.in_parts([cut])
            assert found is not None
            assert found[0] == expected
            assert found[1].lines == len(expected)


def test_rejects_are_numbered_through_blocks_and_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "BLOCK_BYTES", 4)
    path = tmp_path / "f.txt"
    path.write_bytes(b"a\nbb\n\nccccccccc\nx\xff\nd\r\n\xff")
    reading = Reading(path, _TEXT)
    for found in (reading.whole(), reading.in_parts([5, 12])):
        assert found is not None
        assert [text for (text,) in found[0]] == ["a", "bb", "", "ccccccccc", "d"]
        assert [(reject.file, reject.line) for reject in found[1].rejects] == [
            (str(path), 5),
            (str(path), 7),
        ]
    assert reading.blocks > 6


def test_a_text_file_that_is_truncated_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "f.txt.gz"
    path.write_bytes(gzip.compress(b"line\n" * 1000)[:-4])
    with pytest.raises(InputError, match=r"f\.txt\.gz: cannot be read: .*truncated"):
        Reading(path, _TEXT).whole()


@pytest.mark.parametrize("content", [b"", b"\n", b"a", b"a\nb", b"a\nb\n", b"\xff\xfe\n\0"])
def test_counts_are_of_newlines_and_a_last_line_wherever_the_file_is_cut(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "date=2013-01-01" / "f"
    path.parent.mkdir()
    path.write_bytes(content)
    layout = Layout("counts", counts_layout().columns, {"date": "DATE", "hour": "BIGINT"})
    reading = Reading(path, layout)
    last = bool(content) and not content.endswith(b"\n")
    expected = (1, content.count(b"\n") + last, len(content))
    for cuts in ([], *([cut] for cut in range(1, len(content)))):
        rows, report = reading.counts(cuts)
        files, counted, size, days, hours = zip(*rows, strict=True)
        assert (sum(files), sum(counted), sum(size)) == expected
        assert {str(day) for day in days} == {"2013-01-01"}
        assert set(hours) == {None}
        assert report.rows == expected[1]


@pytest.mark.parametrize(
    "name", ["[x]/a[1].csv", "a*.csv", "a?.csv", "date=1/{a,b}.csv", 'it\'s "odd" #1 100%.csv']
)
@pytest.mark.parametrize("compressed", [False, True])
def test_a_file_of_any_name_is_read_and_no_other(
    tmp_path: Path, name: str, *, compressed: bool
) -> None:
    path = tmp_path / (name + ".gz" if compressed else name)
    path.parent.mkdir(exist_ok=True)
    data = b"a,b\n1,right\n"
    path.write_bytes(gzip.compress(data) if compressed else data)
    (path.parent / "a1.csv").write_bytes(b"a,b\n1,wrong\n")
    layout = Layout("csv", {"a": "BIGINT", "b": "VARCHAR"})
    reading = Reading(path, layout)
    assert reading.whole()[0] == [(1, "right")]
    assert reading.session.connection.execute("SELECT filename FROM input").fetchall() == [
        (str(path),)
    ]


def test_many_small_files_are_one_block(tmp_path: Path) -> None:
    parts = []
    for number in range(50):
        path = tmp_path / f"k={number % 3}" / f"{number}.csv"
        path.parent.mkdir(exist_ok=True)
        names = "a,b" if number % 2 else "b,a"
        path.write_text(f"{names}\n{number},x\n" if number % 2 else f"{names}\nx,{number}\n")
        parts.append(Part(number, InputFile(str(path), path.stat().st_size), 0, 99))
    parts = [Part(p.number, p.file, 0, p.file.size) for p in parts]
    layout = Layout("csv", {"a": "BIGINT", "b": "VARCHAR"}, {"k": "BIGINT"})
    reading = Reading(Path(parts[0].file.path), layout)
    (block,) = reading.reader.cut(Share(0, tuple(parts)))
    assert not hasattr(block, "part")
    reports = reading.reader.load(reading.session, block)
    assert [report.rows for report in reports] == [1] * 50
    found = reading.session.connection.execute("SELECT a, b, k, filename FROM input").fetchall()
    assert found == [(n, "x", n % 3, parts[n].file.path) for n in range(50)]


def test_a_line_that_runs_far_beyond_its_part_is_read_in_time_that_grows_with_it(
    tmp_path: Path,
) -> None:
    path = tmp_path / "f.txt"
    path.write_bytes(b"x\n" * 1000 + b"y" * 40_000_000 + b"\nz\n")
    started = time.process_time()
    found = Reading(path, _TEXT).in_parts([1500])
    assert time.process_time() - started < 3
    assert found is not None
    assert [len(text) for (text,) in found[0]] == [*[1] * 1000, 40_000_000, 1]
