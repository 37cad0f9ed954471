"""The columns of JSON-lines files, and types that hold their values without a loss."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from beam_jobs.errors import InputError, UsageError
from beam_jobs.files import InputFile
from beam_jobs.formats.json_lines import find_columns


def columns_of(
    tmp_path: Path, *texts: str | bytes, declared: dict[str, str] | None = None
) -> dict[str, str]:
    files = []
    for number, text in enumerate(texts):
        path = tmp_path / f"{number}.jsonl"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        files.append(InputFile(str(path), path.stat().st_size))
    return find_columns(files, declared or {})


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ("1 -2 null", "BIGINT"),
        ("1 9223372036854775808", "HUGEINT"),
        ("1 170141183460469231731687303715884105728", "VARCHAR"),
        (f"1 {'9' * 5000}", "VARCHAR"),
        ("1 2.5", "DOUBLE"),
        ("1 1e3", "DOUBLE"),
        ("NaN 1", "DOUBLE"),
        ("9007199254740993 2.5", "VARCHAR"),
        ("true false", "BOOLEAN"),
        ('"x" ""', "VARCHAR"),
        ('"02134" "12"', "VARCHAR"),
        ('"true"', "VARCHAR"),
        ('"2013-01-02" null', "DATE"),
        ('"2013-01-02" "x"', "VARCHAR"),
        ('"2013-01-02T03:04:05" "2013-01-02T03:04:05.25"', "TIMESTAMP"),
        ('"2013-01-02T03:04:05Z"', "TIMESTAMP WITH TIME ZONE"),
        ("null null", "VARCHAR"),
        ('1 "x"', "JSON"),
        ("1 true", "JSON"),
        ("1 [1]", "JSON"),
        ("[1] [2.5] []", "DOUBLE[]"),
        ("[]", "JSON[]"),
        ("[null]", "VARCHAR[]"),
        ('[1,"x"]', "JSON[]"),
        ('["2013-01-02"]', "DATE[]"),
        ('{"x":1} {"y":["a"]}', 'STRUCT("x" BIGINT, "y" VARCHAR[])'),
        ('[{"x":{"y":true}}]', 'STRUCT("x" STRUCT("y" BOOLEAN))[]'),
        ("{}", "JSON"),
        ('{"x":1,"X":2}', "JSON"),
        ('{"":1}', "JSON"),
        ("[" * 5_000 + "]" * 5_000, "[]"),
    ],
)
def test_a_type_holds_all_of_a_columns_values(tmp_path: Path, values: str, kind: str) -> None:
    lines = "".join(f'{{"a":{value}}}\n' for value in values.split())
    found = columns_of(tmp_path, lines)
    assert list(found) == ["a"]
    assert found["a"].endswith(kind) if kind == "[]" else found["a"] == kind


def test_columns_come_in_the_order_of_their_first_appearance_in_any_case(tmp_path: Path) -> None:
    found = columns_of(tmp_path, '{"b":1}\n{"A":1,"b":2.5}\n', b'\xef\xbb\xbf{"a":null,"c":"x"}')
    assert list(found.items()) == [("b", "DOUBLE"), ("A", "BIGINT"), ("c", "VARCHAR")]


def test_declared_types_go_before_what_is_found(tmp_path: Path) -> None:
    declared = {"B": "DECIMAL(9,2)", "later": "DATE"}
    found = columns_of(tmp_path, '{"a":1,"b":2.5}\n', declared=declared)
    assert list(found.items()) == [("a", "BIGINT"), ("b", "DECIMAL(9,2)"), ("later", "DATE")]


def test_a_declared_type_that_json_cannot_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="column a: 'nonsense' is not a type"):
        columns_of(tmp_path, declared={"a": "nonsense"})
    with pytest.raises(UsageError, match="column a: .* cannot be MAP.*declare it JSON"):
        columns_of(tmp_path, declared={"a": "MAP(VARCHAR, BIGINT)"})
    assert columns_of(tmp_path, declared={"a": "STRUCT(x DATE)[]"}) == {"a": "STRUCT(x DATE)[]"}


def test_malformed_lines_and_the_cut_end_of_the_sample_say_nothing(tmp_path: Path) -> None:
    lines = '{"a":1}\n{"b":\n{"c":1,"c":2}\n[1]\n\n' + '{"a":2}\n' * 100_000 + '{"a":2.5'
    assert columns_of(tmp_path, lines) == {"a": "BIGINT"}


def test_empty_files_say_nothing(tmp_path: Path) -> None:
    assert columns_of(tmp_path, "", "\n \r\n", declared={"a": "DATE"}) == {"a": "DATE"}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ('[{"a":1},\n{"a":2}]\n', "line 1: '[{\"a\":1},' is no JSON object (malformed"),
        ('\n{\n  "a": 1\n}\n', "line 2: '{' is no JSON object (malformed"),
        ("[1]\n", "line 1: '[1]' is no JSON object, nor"),
        ("a,b\n1,2\n", "line 1: 'a,b' is no JSON object"),
    ],
)
def test_a_file_that_is_no_json_lines_is_named_with_line_and_remedy(
    tmp_path: Path, text: str, shown: str
) -> None:
    with pytest.raises(InputError) as caught:
        columns_of(tmp_path, '{"a":1}\n', text)
    assert str(caught.value).startswith(f"{tmp_path / '1.jsonl'}: {shown}")
    assert "one whole object on each line" in str(caught.value)


def test_a_utf_16_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="UTF-16"):
        columns_of(tmp_path, '{"a":1}\n'.encode("utf-16"))


def test_keys_of_one_record_that_differ_in_case_alone_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="line 2: the keys 'id' and 'ID' are the same column"):
        columns_of(tmp_path, '{"id":1}\n{"id":1,"ID":2}\n')


def test_a_compressed_file_is_looked_into(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"a":1}\n'))
    assert find_columns([InputFile(str(path), 1)], {}) == {"a": "BIGINT"}
