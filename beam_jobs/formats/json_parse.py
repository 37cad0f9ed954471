"""The JSON of one line, spelled out: the careful reader, exact about every character.

It takes what DuckDB's parser takes, so that both agree on which lines are malformed: RFC 8259, and
beyond it ``NaN``, ``Infinity`` and ``inf`` in any case as numbers, and a comma after the last
element. Numbers stay texts, as they stand in the file. Nothing recurses: brackets may nest
without end.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

Kind = Literal["object", "array", "string", "number", "boolean", "null"]

_SPACE = r"[ \t\r\n]*+"
_ESCAPE = (
    r'\\(?:["\\/bfnrt]|u(?:(?![dD][89a-fA-F])[0-9a-fA-F]{4}'
    r"|[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}))"
)
_STRING = rf'"[^"\\\x00-\x1f]*+(?:{_ESCAPE}[^"\\\x00-\x1f]*+)*+"'
_NUMBER = r"-?(?:(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?|(?i:nan|inf(?:inity)?))"
_VALUE = re.compile(
    rf"{_SPACE}(?:(?P<string>{_STRING})|(?P<number>{_NUMBER})|(?P<boolean>true|false)"
    r"|(?P<null>null)|(?P<object>\{)|(?P<array>\[))"
)
_KEY = re.compile(rf"{_SPACE}({_STRING}){_SPACE}:")
_AFTER = re.compile(rf"{_SPACE}(,?){_SPACE}([\]}}]?)")
_BLANK = re.compile(_SPACE)
_CLOSING = {"object": "}", "array": "]"}
_SHOWN_CHARACTERS = 20


class MalformedError(Exception):
    """A text is no JSON; says where."""


class Value(NamedTuple):
    """A value as it stands in the line, quotes and escapes included."""

    kind: Kind
    raw: str

    @property
    def text(self) -> str:
        """A string's characters; the text in the file of any other value."""
        return unquoted(self.raw) if self.kind == "string" else self.raw


def read_object(line: str) -> list[tuple[str, Value]] | None:
    """Return the keys and values of a line's object; None if the line is JSON but no object.

    Raises:
        MalformedError: It is no JSON.
    """
    value, end = _value_at(line, 0)
    if _BLANK.fullmatch(line, end) is None:
        raise _malformed(line, end)
    return list(members(value.raw)) if value.kind == "object" else None


def members(raw: str) -> Iterator[tuple[str, Value]]:
    """Yield the keys and values of a well-formed object."""
    at = 1
    while key := _KEY.match(raw, at):
        value, at = _value_at(raw, key.end())
        yield unquoted(key[1]), value
        at = _after(raw, at).end()


def elements(raw: str) -> Iterator[Value]:
    """Yield the elements of a well-formed array."""
    at = 1
    while _VALUE.match(raw, at):
        value, at = _value_at(raw, at)
        yield value
        at = _after(raw, at).end()


def compact(raw: str) -> str:
    """Return a well-formed text without spaces or needless escapes; numbers as they stand."""
    tokens = re.findall(rf'{_STRING}|[^"\s]+', raw)
    plain = "".join(
        json.dumps(unquoted(token), ensure_ascii=False) if "\\" in token else token
        for token in tokens
    )
    return re.sub(rf"({_STRING})|,([\]}}])", r"\1\2", plain) if _has_comma_last(plain) else plain


def _has_comma_last(text: str) -> bool:
    return ",]" in text or ",}" in text


def unquoted(raw: str) -> str:
    """Return the characters of a well-formed string."""
    return str(json.loads(raw)) if "\\" in raw else raw[1:-1]


def _value_at(text: str, at: int) -> tuple[Value, int]:
    """Return the value that begins at a place, after spaces, and where it ends."""
    found = _match_value(text, at)
    kind: Kind = found.lastgroup  # type: ignore[assignment]
    start = found.start(kind)
    end = found.end() if kind not in _CLOSING else _end_of_nested(text, start)
    return Value(kind, text[start:end]), end


def _end_of_nested(text: str, at: int) -> int:
    """Return where the object or array that begins at a place ends."""
    closing: list[str] = []
    while True:
        found = _match_value(text, at)
        at = found.end()
        if closer := _CLOSING.get(found.lastgroup or ""):
            blank = _BLANK.match(text, at)
            inside = blank.end() if blank else at
            if text[inside : inside + 1] == closer:
                at = inside + 1
            else:
                closing.append(closer)
                at = _end_of_key(text, at, closer)
                continue
        at = _end_of_closed(text, at, closing)
        if not closing:
            return at
        at = _end_of_key(text, at, closing[-1])


def _end_of_closed(text: str, at: int, closing: list[str]) -> int:
    """Return the end of what closes after a value: its comma, or the brackets that end with it."""
    while closing:
        after = _after(text, at)
        if after[2]:
            if after[2] != closing.pop():
                raise _malformed(text, after.start(2))
        elif not after[1]:
            raise _malformed(text, after.end())
        at = after.end()
        if not after[2]:
            break
    return at


def _end_of_key(text: str, at: int, closer: str) -> int:
    if closer != "}":
        return at
    key = _KEY.match(text, at)
    if key is None:
        raise _malformed(text, at)
    return key.end()


def _after(text: str, at: int) -> re.Match[str]:
    found = _AFTER.match(text, at)
    if found is None:  # It matches nothing at all, too.
        raise _malformed(text, at)
    return found


def _match_value(text: str, at: int) -> re.Match[str]:
    found = _VALUE.match(text, at)
    if found is None:
        raise _malformed(text, at)
    return found


def _malformed(text: str, at: int) -> MalformedError:
    blank = _BLANK.match(text, at)
    at = blank.end() if blank else at
    rest = text[at : at + _SHOWN_CHARACTERS].rstrip("\r\n")
    found = f"unexpected {rest!r}" if rest else "the line ends too early"
    return MalformedError(f"malformed JSON at character {at + 1}: {found}")
