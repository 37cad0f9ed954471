"""The end of a block's last whole record is found where it can be proven, and only there."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_jobs.formats.formats import Dialect
from beam_jobs.formats.quoting import guess_record, record_ends


def whole_records(block: bytes, delimiter: str) -> int | None:
    ends = record_ends(block, Dialect(delimiter))
    return None if ends is None else ends.last


CELLS = st.text(alphabet='a",\n x', max_size=5)


@settings(max_examples=500, deadline=None)
@given(
    rows=st.lists(st.lists(CELLS, min_size=2, max_size=3), min_size=1, max_size=6), data=st.data()
)
def test_any_cut_of_a_well_formed_file_is_proven(
    rows: list[list[str]], data: st.DataObject
) -> None:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator=data.draw(st.sampled_from(["\n", "\r\n"])))
    ends = [0]
    for row in rows:
        writer.writerow(row)
        ends.append(stream.tell())
    text = stream.getvalue().encode()
    whole = record_ends(text, Dialect())
    assert whole is not None
    for place in range(1, len(text) + 1):
        assert whole.at_or_after(place) == min(end for end in ends if end >= place)
    cut = data.draw(st.integers(0, len(text)))
    if text[:cut].endswith(b"\r"):
        cut -= 1  # half a line end is left to the caller, who cuts at newlines
    assert whole_records(text[:cut], ",") == max(end for end in ends if end <= cut)


@settings(max_examples=2000, deadline=None)
@given(text=st.text(alphabet='a",\n', max_size=14))
def test_what_is_claimed_of_any_text_holds_for_a_parser(text: str) -> None:
    claimed = whole_records(text.encode(), ",")
    if claimed is not None:
        assert (claimed, False) == last_record_end(text)


def last_record_end(text: str) -> tuple[int, bool]:
    """Parse by RFC 4180, character by character: where the last record ends, and any fault."""
    end, quoted, at_start, position = 0, False, True, 0
    fault = False
    while position < len(text):
        character, after = text[position], text[position + 1 : position + 2]
        if quoted and character == '"':
            if after == '"':
                position += 1
            else:
                quoted = False
                fault |= after not in ("", ",", "\n")
        elif not quoted and character == '"':
            quoted = at_start
            fault |= not at_start
        elif not quoted and character == "\n":
            end = position + 1
        at_start = not quoted and character in ",\n"
        position += 1
    return end, fault


@pytest.mark.parametrize(
    "block",
    [
        b'a,x"y\n',  # a quote within a value
        b'a,"x"y\n',  # something after a closing quote
        b'a, "x"\n',  # a blank before an opening one
        b"a\rb\n",  # a line end that is none
    ],
)
def test_what_cannot_be_proven_is_not(block: bytes) -> None:
    assert whole_records(block, ",") is None


def test_a_newline_within_quotes_ends_no_record() -> None:
    assert whole_records(b'a,b\n1,"x\ny\nz', ",") == 4


def test_the_delimiter_counts() -> None:
    assert whole_records(b'a;"x"\n', ";") == 6
    assert whole_records(b'a;"x"\n', ",") is None


def test_the_next_record_is_found_from_anywhere_within_quotes_too() -> None:
    data = b'1,"a,\nb, c",2\n3,"d\n\ne",4\n5,f,6\n'
    ends = [14, 25, 31]
    for start in range(1, len(data)):
        place = guess_record(data[start - 1 :], Dialect())
        assert place is not None
        assert start - 1 + place == min(end for end in ends if end >= start)


def test_no_record_is_guessed_where_quotes_are_irregular_or_no_line_ends() -> None:
    assert guess_record(b'a"b"c\nd\n', Dialect()) is None
    assert guess_record(b"abc", Dialect()) is None
