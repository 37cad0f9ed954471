"""Every encoding is read as UTF-8, and what is no text in it rejects its own record only."""

from __future__ import annotations

import codecs
import contextlib
import gzip
import io
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_jobs.errors import InputError
from beam_jobs.files import InputFile, open_input
from beam_jobs.formats import encodings
from beam_jobs.formats.csv_records import read_records
from beam_jobs.formats.encodings import check_encoding, detected_encoding, transcoded
from beam_jobs.formats.formats import Dialect, Encoding, encoding_name

_PYTHON: dict[Encoding, str] = {
    "utf-16": "utf-16-le",
    "utf-16-le": "utf-16-le",
    "utf-16-be": "utf-16-be",
    "latin-1": "iso-8859-1",
    "windows-1252": "cp1252",
}
# What each encoding has beside ASCII.
_LETTERS: dict[Encoding, str] = {
    "utf-16": "éЖ一𝄞\u0a0a\u0d0d\U0001f600",
    "utf-16-le": "éЖ一𝄞\u0a0a\u0d0d\U0001f600",
    "utf-16-be": "éЖ一𝄞\u0a0a\u0d0d\U0001f600",
    "latin-1": "éÿ\x81\x85\xa0",
    "windows-1252": "éÿ€Ž™\xa0",
}
_encodings = pytest.mark.parametrize("encoding", _PYTHON)


def utf8_of(data: bytes, encoding: Encoding) -> bytes:
    return transcoded(io.BytesIO(data), encoding, "f.csv").read()


@_encodings
@given(data=st.data(), size=st.integers(1, 7))
@settings(deadline=None, max_examples=50)
def test_a_text_is_read_as_utf8_however_the_bytes_arrive(
    encoding: Encoding, data: st.DataObject, size: int
) -> None:
    text = "a" + data.draw(st.text(st.sampled_from('a,"\n\r\0' + _LETTERS[encoding])))
    mark = "\ufeff" if encoding == "utf-16" else ""
    stored = io.BytesIO((mark + text).encode(_PYTHON[encoding]))
    before = encodings._READ_BYTES
    encodings._READ_BYTES = size + 1  # a mark is not cut
    try:
        stream = transcoded(stored, encoding, "f.csv")
        pieces = list(iter(lambda: stream.read(size), b""))
    finally:
        encodings._READ_BYTES = before
    assert b"".join(pieces) == text.encode()


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("declared", ["utf-16", "same"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_utf16_is_read_with_and_without_a_mark_in_both_orders(
    encoding: Encoding, declared: str, mark: str
) -> None:
    data = f"{mark}a,é\n".encode(encoding)
    assert utf8_of(data, "utf-16" if declared == "utf-16" else encoding) == "a,é\n".encode()


@_encodings
def test_a_file_without_text_is_empty(encoding: Encoding) -> None:
    assert utf8_of(b"", encoding) == b""
    if encoding.startswith("utf-16"):
        assert utf8_of("\ufeff".encode(_PYTHON[encoding]), encoding) == b""


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_a_line_end_tells_the_order_of_the_bytes_where_no_letter_does(encoding: str) -> None:
    text = "一一,一一\n二,一\n"
    assert utf8_of(text.encode(encoding), "utf-16") == text.encode()


def test_a_mark_amid_the_text_is_a_character() -> None:
    assert utf8_of("\ufeffa\ufeffb".encode("utf-16-le"), "utf-16") == "a\ufeffb".encode()


@pytest.mark.parametrize(
    ("encoding", "broken"),
    [
        ("utf-16-le", b"\x00\xd8"),
        ("utf-16-le", b"\x00\xdc"),
        ("utf-16-be", b"\xd8\x00"),
        ("utf-16", b"\x00\xd8"),
        ("windows-1252", b"\x81"),
        ("windows-1252", b"\x9d"),
    ],
)
def test_bytes_that_are_no_text_reject_their_record_only(encoding: Encoding, broken: bytes) -> None:
    lines = ("é,1\n".encode(_PYTHON[encoding]), "c,d\n".encode(_PYTHON[encoding]))
    stream = transcoded(io.BytesIO(lines[0] + broken + lines[0] + lines[1]), encoding, "f.csv")
    found = [(r.values, r.problem) for r in read_records(stream, Dialect(encoding=encoding))]
    assert found[0] == (["é", "1"], "")
    assert found[1][1] == f"not {encoding.upper()}"
    assert found[2] == (["c", "d"], "")


@_encodings
@given(data=st.binary(max_size=60))
@settings(deadline=None)
def test_whatever_the_bytes_are_the_text_is_theirs_or_is_no_utf8(
    encoding: Encoding, data: bytes
) -> None:
    try:
        found = utf8_of(data, encoding)
    except InputError:
        return  # It is refused as a whole.
    names = ("utf-16-le", "utf-16-be") if encoding == "utf-16" else (_PYTHON[encoding],)
    texts: list[str] = []
    for name in names:
        with contextlib.suppress(UnicodeDecodeError):
            texts.append(data.decode(name).removeprefix("\ufeff"))
    try:
        assert found.decode() in texts
    except UnicodeDecodeError:
        assert len(texts) < len(names)


@pytest.mark.parametrize("tail", [b"\x00", b"\x00\xd8", b"x\x00\x00\xd8\x00"])
def test_a_file_that_ends_amid_a_character_is_read_up_to_it(tail: bytes) -> None:
    found = utf8_of("a\n".encode("utf-16-le") + tail, "utf-16-le")
    assert found.startswith(b"a\n")
    assert found.endswith(b"\xff")


@pytest.mark.parametrize(
    ("data", "encoding", "message"),
    [
        (b"\xef\xbb\xbfa,b\n", "latin-1", "marks itself as UTF-8, and .* are read as LATIN-1; "),
        (b"\xef\xbb\xbfa,b\n", "utf-16", "marks itself as UTF-8, and .* are read as UTF-16; "),
        (b"\xfe\xff\0a", "utf-16-le", "marks itself as UTF-16-BE, and .* read as UTF-16-LE; "),
        (b"\xff\xfea\0", "windows-1252", "marks itself as UTF-16-LE, and .* WINDOWS-1252; say"),
        (b"a,b\n1,2\n", "utf-16", "which does not tell UTF-16 and .*; say --encoding utf-16-le or"),
        ("一二三".encode("utf-16-le"), "utf-16", "which does not tell UTF-16"),
        (b"a", "utf-16", "which does not tell UTF-16"),
    ],
)
def test_a_file_of_another_encoding_than_declared_is_an_error(
    data: bytes, encoding: Encoding, message: str
) -> None:
    with pytest.raises(InputError, match=f"^f.csv: line 1: the file .*{message}"):
        utf8_of(data, encoding)


def test_a_compressed_file_is_no_text_in_any_encoding() -> None:
    with pytest.raises(InputError, match=r"^f\.csv: is gzip data; let its name end in"):
        utf8_of(gzip.compress(b"a"), "latin-1")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf16_is_detected_and_refused_where_utf8_is_read(encoding: str) -> None:
    data = "name,b\nö,2\n".encode(encoding)
    assert detected_encoding(data) == "utf-16"
    with pytest.raises(
        InputError, match=r"f\.csv: line 1: the file is UTF-16 .*; say --encoding utf-16"
    ):
        check_encoding(data, "f.csv")


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"a,b\n1,2\n", "utf-8"),
        ("é,一\n".encode(), "utf-8"),
        (codecs.BOM_UTF8 + b"a,b\n", "utf-8"),
        (b"a\0,b\nccc\0d\n", "utf-8"),
        (b"\0" * 100, "utf-8"),
        (b"", None),
        (b"a\0b\0", None),
    ],
)
def test_other_files_are_utf8_or_too_short_to_tell(data: bytes, found: str | None) -> None:
    assert detected_encoding(data) == found
    check_encoding(data, "f.csv")


# Files.


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_a_file_is_opened_in_its_encoding(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"f.csv{ending}"
    text = "é,€\n" * 1_000_000
    stored = text.encode("cp1252")
    path.write_bytes(gzip.compress(stored, 1) if ending else stored)
    with open_input(InputFile(str(path), 0), "windows-1252") as stream:
        assert stream.read() == text.encode()
    for encoding in (None, "utf-8"):
        with open_input(
            InputFile(str(path), 0), encoding_name(encoding) if encoding else None
        ) as stream:
            assert stream.read() == stored


def test_an_error_of_the_encoding_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    path.write_bytes(b"\xef\xbb\xbfa\n")
    with (
        pytest.raises(InputError, match=rf"^{path}: line 1: the file marks itself as UTF-8"),
        open_input(InputFile(str(path), 0), "latin-1") as stream,
    ):
        stream.read(1)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *((name, name) for name in get_args(Encoding)),
        ("UTF8", "utf-8"),
        ("ISO-8859-1", "latin-1"),
        ("cp1252", "windows-1252"),
        ("UTF_16LE", "utf-16-le"),
    ],
)
def test_an_encoding_has_its_usual_names(name: str, expected: str) -> None:
    assert encoding_name(name) == expected


@pytest.mark.parametrize("name", ["", "ebcdic", "utf-7", "rot13", "a\0b", "é"])
def test_other_encodings_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="^is not one of utf-8, utf-16, "):
        encoding_name(name)
