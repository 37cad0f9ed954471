"""GoogleSQL's words in DuckDB's spelling: strings, names, numbers, parameters and comments.

What the words mean together is looked at later, in DuckDB's syntax tree (`query`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from local_cloud.bigquery.schema import SchemaError, parse_fields, quoted, text
from local_cloud.errors import ServiceError

_STRING = (
    r"""(?:'''(?:\\.|[^\\])*?'''|\"\"\"(?:\\.|[^\\])*?\"\"\""""
    r"""|'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*")"""
)
_TOKEN = re.compile(
    rf"""(?P<space>\s+|--[^\n]*|\#[^\n]*|/\*.*?\*/)
    |(?P<bytes>(?:rb|br|b){_STRING})
    |(?P<raw>r{_STRING})
    |(?P<string>{_STRING})
    |`(?P<name>[^`\n]+)`
    |(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)
    |@(?P<parameter>\w+)
    |(?P<positional>\?)
    |(?P<word>[A-Za-z_]\w*)
    |(?P<other><>|!=|<=|>=|\|\||.)""",
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)
_ESCAPE = re.compile(
    r"\\(?:x(?P<hex>[0-9a-fA-F]{2})|u(?P<u4>[0-9a-fA-F]{4})|U(?P<u8>[0-9a-fA-F]{8})"
    r"|(?P<octal>[0-3][0-7]{2})|(?P<one>.))",
    re.DOTALL,
)
_ESCAPED = dict(zip("abfnrtv\\?\"'`", "\a\b\f\n\r\t\v\\?\"'`", strict=True))
# Project names have dashes, which need no backquotes after these words.
_DASHED = re.compile(r"\s+([A-Za-z]\w*(?:-\w+)+)(?=\.)")


def invalid(message: str) -> ServiceError:
    """The error of a query that cannot be run."""
    return ServiceError(400, message, reason="invalidQuery", location="query")


def unsupported(what: str) -> ServiceError:
    """The error of a query that BigQuery may know how to run, and the local one does not."""
    return invalid(f"{what} is not supported by the local BigQuery")


def respell(sql: str, parameters: Sequence[Mapping[str, Any]]) -> str:
    """A query in DuckDB's spelling.

    Args:
        sql: The query.
        parameters: As in the API, named or positional; they become literals.

    Raises:
        ServiceError: A word that cannot be translated for sure.
    """
    return "".join(_words(sql, list(parameters)))


def _words(sql: str, parameters: list[Mapping[str, Any]]) -> Iterator[str]:
    position, before = 0, ""
    while position < len(sql):
        found = _TOKEN.match(sql, position)
        if not found:
            raise invalid(f"Syntax error: Illegal input character at {_place(sql, position)}")
        position = found.end()
        kind, word = str(found.lastgroup), found[str(found.lastgroup)]
        if kind == "space":
            yield "\n" if "\n" in word else " "
            continue
        if kind == "word" and word.upper() in ("FROM", "JOIN"):
            yield word
            if dashed := _DASHED.match(sql, position):
                yield f" {quoted(dashed[1])}"
                position = dashed.end()
        elif kind == "word" and word.upper() == "TIMESTAMP":
            yield _timestamp(sql, position, before)
        else:
            yield _word(kind, word, sql, found.start(), parameters)
        before = word.upper()


def _timestamp(sql: str, position: int, before: str) -> str:
    following = sql[position:].lstrip()[:1]
    is_type = following in ("'", '"') or (before == "AS" and following == ")")
    return "TIMESTAMPTZ" if is_type else "timestamp"


def _word(kind: str, word: str, sql: str, start: int, parameters: list[Mapping[str, Any]]) -> str:
    if kind in ("parameter", "positional"):
        return _parameter(parameters, None if word == "?" else word)
    if kind == "bytes":
        raise unsupported(f"The bytes literal at {_place(sql, start)}")
    if kind == "other":
        if word in ("$", ";", "`", "@", "\\") and sql[start:].strip() != ";":
            raise invalid(f'Syntax error: Unexpected "{word}" at {_place(sql, start)}')
        return "" if word == ";" else word
    return _SPELLED[kind](word)


def _place(sql: str, position: int) -> str:
    before = sql[:position]
    return f"[{before.count(chr(10)) + 1}:{position - before.rfind(chr(10))}]"


def _inner(literal: str) -> str:
    size = 3 if literal[:3] in ("'''", '"""') else 1
    return literal[size:-size]


def _unescaped(literal: str) -> str:
    def replace(found: re.Match[str]) -> str:
        code = found["hex"] or found["u4"] or found["u8"]
        if code or found["octal"]:
            return chr(int(code, 16) if code else int(found["octal"], 8))
        if found["one"] not in _ESCAPED:
            raise invalid(f"Syntax error: Illegal escape sequence: \\{found['one']}")
        return _ESCAPED[found["one"]]

    return _ESCAPE.sub(replace, _inner(literal))


_SPELLED: dict[str, Callable[[str], str]] = {
    "string": lambda word: text(_unescaped(word)),
    "raw": lambda word: text(_inner(word[1:])),
    "name": quoted,
    # DuckDB takes 1.5 for a decimal number, BigQuery for a floating-point one.
    "number": lambda word: f"{word}e0" if "." in word and "e" not in word.lower() else word,
    "word": str,
}


def _parameter(parameters: list[Mapping[str, Any]], name: str | None) -> str:
    index = next((n for n, one in enumerate(parameters) if name in (None, one.get("name"))), None)
    if index is None:
        raise invalid(f"Query parameter '{name or '?'}' not found")
    found = parameters[index] if name else parameters.pop(0)
    kind, value = found.get("parameterType") or {}, found.get("parameterValue") or {}
    literal = value.get("value")
    return f"CAST({'NULL' if literal is None else text(str(literal))} AS {_sql_type(kind)})"


def _sql_type(kind: Mapping[str, Any]) -> str:
    try:
        (field,) = parse_fields([{"name": "parameter", "type": kind.get("type")}])
    except (SchemaError, ServiceError) as error:
        raise unsupported(f"A parameter of type {kind.get('type')}") from error
    if field.type == "BYTES":
        raise unsupported("A parameter of type BYTES")
    return field.sql_type
