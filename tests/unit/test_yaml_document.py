"""Where values are in a YAML text, and what is refused though YAML takes it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_jobs.datasets.yaml_document import read_yaml


def problem_of(text: str) -> str:
    (problem,) = read_yaml(text).problems
    return f"{problem.line}: {problem.text}"


def test_values_are_those_of_yaml() -> None:
    text = "a: [x, 2, 2.5, true, 'NO']\nb: {c: d}\n"
    assert read_yaml(text).value == {"a": ["x", 2, 2.5, True, "NO"], "b": {"c": "d"}}


def test_a_field_is_found_at_the_line_of_its_key_and_an_item_at_its_own() -> None:
    document = read_yaml("# comment\na:\n  b:\n    value\n  c:\n  - x\n  - y\n")
    lines = [document.line(path) for path in [("a",), ("a", "b"), ("a", "c"), ("a", "c", 1)]]
    assert lines == [2, 3, 5, 7]


def test_a_field_that_is_not_there_has_the_line_of_its_parent() -> None:
    assert read_yaml("x: 1\na:\n  b: 1\n").line(("a", "missing", "deeper")) == 2


def test_an_empty_text_has_no_value_and_no_problem() -> None:
    document = read_yaml("# only a comment\n")
    assert (document.value, document.problems) == (None, ())


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: 1\nb: 2\na: 3\n", "3: is given twice, first on line 1; keep one of the two"),
        ("a:\n", "1: has no value; give one, or delete the line"),
        ("a: [NULL]\n", "1: NULL is read by YAML as no value; quote it: 'NULL'"),
        ("a: 010\n", "1: 010 is read by YAML as the number 8; write 8, or '010' for the text"),
        ("x: 1\nNO: a\n", "2: YAML reads the key NO as a boolean; quote it: 'NO'"),
        ("x: 1\n[a]: b\n", "2: the key ['a'] is not text; quote it"),
        ("a: &x 1\n", "1: not valid YAML: anchors (&name) and aliases (*name) are not supported;"),
        ("a: b\nc: *a\n", "2: not valid YAML: anchors (&name) and aliases (*name) are not"),
        ("a: !!str 1\n", "1: not valid YAML: the tag !!str is not supported; remove it"),
        ("a: !!python/name:os.system x\n", "1: not valid YAML: the tag !!python/name:os.system"),
        ("a: @daily\n", "1: not valid YAML: while scanning for the next token, found character"),
        ("a: b\n---\nc: d\n", "2: not valid YAML: expected a single document in the stream"),
        ("a: b\nc: \x01\n", "2: holds the control character 0x01; remove it"),
        ("[" * 5000, "1: not read: its values are nested hundreds of levels deep"),
    ],
)
def test_what_a_reader_would_not_expect_is_a_problem(text: str, problem: str) -> None:
    assert problem_of(text).startswith(problem)


def test_aliases_that_would_unfold_to_gigabytes_are_refused_at_the_first() -> None:
    bomb = "a: &a [x, x]\n" + "".join(
        f"{name}: &{name} [*{before}, *{before}]\n"
        for before, name in zip("abcdefghijklmnopqrst", "bcdefghijklmnopqrstu", strict=True)
    )
    assert problem_of(bomb).startswith("1: not valid YAML: anchors")


def test_a_syntax_error_says_what_to_do() -> None:
    assert "quote text that holds ': '" in problem_of("a: b: c\n")


@pytest.mark.parametrize(
    ("written", "kind"),
    [("NO", "a boolean"), ("1e3", "a number"), ("2013-01-31", "a date"), ("x", None)],
)
def test_it_is_known_what_yaml_takes_an_unquoted_text_for(written: str, kind: str | None) -> None:
    assert read_yaml(f"a: {written}\n").misread_as(("a",)) == kind


def test_a_value_is_shown_as_written_and_cut_at_80_characters() -> None:
    document = read_yaml(f"a: NO\nb: x\nc: {'y' * 200}\nd: [1, z]\n")
    shown = [document.shown((key,)) for key in "abd"]
    assert shown == ["NO", "'x'", "[1, 'z']"]
    assert document.shown(("c",)) == "'" + "y" * 78 + "…"


indented_lines = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 3), st.integers(0, 2)), min_size=1, max_size=8
)
"""For each line of a query: indentation, number of words, number of blank lines after it."""


@given(
    layout=indented_lines,
    style=st.sampled_from(["|", "|-", ">", ">+", "| # why", "", "'", '"']),
    newline=st.sampled_from(["\n", "\r\n"]),
    blank=st.integers(0, 3),
)
def test_every_word_of_a_text_is_found_at_its_line(
    layout: list[tuple[int, int, int]], style: str, newline: str, blank: int
) -> None:
    quote = style if style in ("'", '"') else ""
    count = 0
    lines: list[str] = []
    for indent, words, blanks in layout:
        names = [f"w{count + n:03}" for n in range(words)]
        count += words
        lines += [" " * (indent if lines else 0) + " ".join(names), *[""] * blanks]
    lines[0] = f"w999 {lines[0]}"
    body = [f"      {line}" if line.strip() else "" for line in lines]
    if quote or not style:
        head = [f"  query: {quote}{body[0].strip()}", *body[1:-1], f"{body[-1]}{quote}"]
        head = head if len(body) > 1 else [f"{head[0]}{quote}"]
    else:
        head = [f"  query: {style}", *[""] * blank, *body]
    text = newline.join(["# comment", "a:", *head, "  after: w0", ""])

    document = read_yaml(text)

    assert document.problems == ()
    assert isinstance(document.value, dict)
    query = document.value["a"]["query"].strip()
    for word in query.split():
        expected = next(n for n, line in enumerate(text.split("\n"), 1) if word in line)
        assert document.line(("a", "query"), query.index(word)) == expected


@given(st.text(max_size=60) | st.text("ab:-[]{},&*!|>'\"#%@` \n\t1?", max_size=40))
def test_any_text_gives_a_document_whose_problems_are_at_its_lines(text: str) -> None:
    for problem in read_yaml(text).problems:
        assert 1 <= problem.line <= len(text.splitlines()) + 1
        assert "\n" not in problem.text
