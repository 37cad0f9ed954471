"""The careful reader takes for JSON what DuckDB's parser takes, and gives texts as they stand."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_jobs.engine.session import open_session
from beam_jobs.formats.json_parse import (
    MalformedError,
    Value,
    compact,
    elements,
    members,
    read_object,
)

_SESSION = open_session()
_WORDS = r"""{ } [ ] , : "a" " 1 - 0 .5 e E+ nan NaN Inf infinity true false null \u0041
    \ud83d\ude00 \ud800 \udc00 \ / x é {"a":1} {"a": "b":2 \n 12345678901234567890123
    1.5e400 -0""".split()
_PIECES = st.sampled_from([*_WORDS, *" \t\r\0\x7f\x0b\x01\xa0\ufeff"])


def is_json(text: str) -> bool:
    try:
        read_object(text)
    except MalformedError:
        return False
    return True


@given(st.lists(st.lists(_PIECES, max_size=9).map("".join), min_size=20, max_size=20))
@settings(max_examples=100, deadline=None)
def test_what_is_malformed_is_malformed_for_duckdb(pieces: list[str]) -> None:
    forms = ("{}", '{{"a":{}}}', "[{}]", '"{}"')
    lines = [form.format(piece) for piece in pieces for form in forms]
    _SESSION.register("lines", pa.table({"line": pa.array(lines, pa.large_string())}))
    rows = _SESSION.execute("SELECT json_valid(line) FROM lines").fetchall()
    assert [(line, is_json(line)) for line in lines] == [
        (line, ok) for line, (ok,) in zip(lines, rows, strict=True)
    ]


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)


@given(_JSON, st.sampled_from([None, 1]), st.booleans())
@settings(max_examples=100, deadline=None)
def test_compact_is_the_same_value_without_spaces_or_escapes(
    value: object, indent: int | None, ascii_only: bool
) -> None:
    raw = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    assert compact(raw) == json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def test_values_are_given_as_they_stand() -> None:
    found = read_object(r' { "a" : 1.50 , "b\n" : [ 1e3, "\u00e9" ] } ')
    assert found == [("a", Value("number", "1.50")), ("b\n", Value("array", r'[ 1e3, "\u00e9" ]'))]
    assert [one.text for one in elements(found[1][1].raw)] == ["1e3", "é"]
    assert list(members("{}")) == []
    assert read_object("[1]") is None


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('{"a" 1}', "character 2: unexpected '\"a\" 1}'"),
        ("{} {}", "character 4: unexpected '{}'"),
        ('{"a": [1 2]}', "character 10: unexpected '2]}'"),
        ('{"a":1', "character 7: the line ends too early"),
    ],
)
def test_an_error_says_where_and_what(text: str, place: str) -> None:
    with pytest.raises(MalformedError, match="malformed JSON at ") as caught:
        read_object(text)
    assert str(caught.value) == f"malformed JSON at {place}"
