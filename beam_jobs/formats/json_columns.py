"""Finds out the columns of JSON-lines files, and their types, from the beginnings of some."""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from beam_jobs.engine.session import open_session, quote_name
from beam_jobs.errors import InputError, UsageError
from beam_jobs.files import InputFile, open_input
from beam_jobs.formats import casts
from beam_jobs.formats.csv_records import MAX_RECORD
from beam_jobs.formats.encodings import check_encoding
from beam_jobs.formats.inference import infer_types
from beam_jobs.formats.json_parse import MalformedError, Value, elements, members, read_object
from beam_jobs.formats.json_values import can_be_read

_SAMPLED_BYTES = 512 * 1024
_SHOWN_CHARACTERS = 100
# What nests deeper, or has more fields than this, is no struct but JSON.
_DEPTH = 20
_MOST_FIELDS = 200
# More than any integer type of DuckDB's has.
_MOST_DIGITS = 40
# Other texts stay texts: "02134" is no number.
_TEXT_TYPES = frozenset(("DATE", "TIMESTAMP", "TIMESTAMP WITH TIME ZONE"))
_INTEGER_TYPES: Mapping[str, tuple[int, int]] = {
    "BIGINT": (-(2**63), 2**63 - 1),
    "HUGEINT": (-(2**127), 2**127 - 1),
}


@dataclass
class _Seen:
    """What the values of a column, a field or a list's elements were."""

    name: str
    kinds: set[str] = field(default_factory=set)
    texts: dict[str, None] = field(default_factory=dict)
    fields: dict[str, _Seen] = field(default_factory=dict)
    item: _Seen | None = None

    def add(self, value: Value, depth: int = 0) -> None:
        """Add a value."""
        self.kinds.add(value.kind)
        if value.kind in ("string", "number"):
            self.texts[value.text] = None
        elif depth == _DEPTH and value.kind in ("object", "array"):
            self.kinds.add("deep")
        elif value.kind == "array":
            self.item = self.item or _Seen("")
            for one in elements(value.raw):
                self.item.add(one, depth + 1)
        elif value.kind == "object":
            for key, one in members(value.raw):
                self.fields.setdefault(key, _Seen(key)).add(one, depth + 1)

    def all_texts(self) -> Iterator[_Seen]:
        """Yield all within that hold nothing but strings."""
        if self.kinds - {"null"} == {"string"}:
            yield self
        for inner in (*self.fields.values(), *([self.item] if self.item else [])):
            yield from inner.all_texts()

    def type(self, of_texts: Mapping[int, str]) -> str:
        """Return the DuckDB type that holds all of the values.

        Args:
            of_texts: The types of those that hold nothing but strings, by identity.
        """
        kinds = self.kinds - {"null"}
        if kinds == {"number"}:
            return _number_type(list(self.texts))
        if kinds == {"string"}:
            return of_texts[id(self)]
        if kinds == {"array"} and self.item is not None:
            return f"{self.item.type(of_texts) if self.item.kinds else 'JSON'}[]"
        if kinds == {"object"} and self._can_be_struct():
            inner = (f"{quote_name(n)} {one.type(of_texts)}" for n, one in self.fields.items())
            return f"STRUCT({', '.join(inner)})"
        if kinds == {"boolean"}:
            return "BOOLEAN"
        return "JSON" if kinds else "VARCHAR"

    def _can_be_struct(self) -> bool:
        names = {name.lower() for name in self.fields if _can_be_name(name)}
        return 0 < len(self.fields) == len(names) <= _MOST_FIELDS


def find_columns(files: Sequence[InputFile], declared: Mapping[str, str]) -> dict[str, str]:
    """Find out the columns of a run from the beginnings of its files.

    Args:
        files: Those to look into, ten at most; empty ones say nothing.
        declared: Name and DuckDB type of what is known already; it is not questioned.

    Returns:
        Name and DuckDB type of all columns, in the order in which they first appear; declared ones
        that never do are the last.

    Raises:
        InputError: A file cannot be read, or begins with no JSON lines.
        UsageError: A declared type is unknown or cannot be read from JSON.
    """
    _check_declared(declared)
    seen: dict[str, _Seen] = {}
    for file in files:
        _look_into(file, seen)
    known = {name.lower(): kind for name, kind in declared.items()}
    texts = {
        str(id(one)): one
        for name, column in seen.items()
        if name not in known
        for one in column.all_texts()
    }
    found = infer_types(open_session(), {key: list(one.texts) for key, one in texts.items()}, ())
    of_texts = {int(key): kind if kind in _TEXT_TYPES else "VARCHAR" for key, kind in found.items()}
    columns = {
        column.name: known[name] if name in known else column.type(of_texts)
        for name, column in seen.items()
    }
    return columns | {name: kind for name, kind in declared.items() if name.lower() not in seen}


def _check_declared(declared: Mapping[str, str]) -> None:
    for name, kind in declared.items():
        if not casts.is_type(kind):
            raise UsageError(
                f"column {name}: {kind!r} is not a type of DuckDB, such as VARCHAR or BIGINT[]"
            )
        if not can_be_read(kind):
            raise UsageError(
                f"column {name}: a column of a JSON-lines file cannot be {kind}; declare it JSON, "
                "and cast it in the query"
            )


def _look_into(file: InputFile, seen: dict[str, _Seen]) -> None:
    """Add what the first lines of a file hold.

    Raises:
        InputError: The file cannot be read, or none of them is an object.
    """
    path = file.path
    first: tuple[int, str, str] | None = None
    for number, line in enumerate(_head(file).split(b"\n"), 1):
        if not line.strip(b" \t\r\n"):
            continue
        try:
            found = read_object(line.rstrip(b"\r").decode())
        except (MalformedError, UnicodeDecodeError) as error:
            first = first or (number, line.decode(errors="replace"), f" ({error})")
            continue
        if found is None:
            first = first or (number, line.decode(), "")
        elif len({key for key, _ in found}) == len(found):  # else it is a reject
            _add_record(found, f"{path}: line {number}", seen)
            first = (0, "", "")
    if first and first[0]:
        raise InputError(_no_objects(path, *first))


def _no_objects(path: str, line: int, text: str, reason: str) -> str:
    more = "…" if len(text) > _SHOWN_CHARACTERS else ""
    return (
        f"{path}: line {line}: {text[:_SHOWN_CHARACTERS].rstrip()!r}{more} is no JSON object"
        f"{reason}, nor is any line after it; JSON lines are needed, one whole object on each "
        "line: rewrite a JSON array or a document over several lines (jq -c '.[]' does)"
    )


def _add_record(record: Sequence[tuple[str, Value]], place: str, seen: dict[str, _Seen]) -> None:
    """Add the values of a record.

    Raises:
        InputError: Two of its keys are the same but for case.
    """
    spelled: dict[str, str] = {}
    for key, value in record:
        if not _can_be_name(key):
            continue
        name = key.lower()
        if name in spelled:
            raise InputError(
                f"{place}: the keys {spelled[name]!r} and {key!r} are the same column, for SQL "
                "does not look at case; rename one"
            )
        spelled[name] = key
        seen.setdefault(name, _Seen(key)).add(value)


def _can_be_name(key: str) -> bool:
    return bool(key) and "\0" not in key


def _head(file: InputFile) -> bytes:
    """Return the first lines of a file, whole ones, without a byte order mark."""
    with open_input(file) as stream:
        head = b""
        while more := stream.read(_SAMPLED_BYTES):
            head += more
            if len(head) > MAX_RECORD or (len(head) >= _SAMPLED_BYTES and b"\n" in head):
                head = head[: head.rfind(b"\n") + 1] or head
                break
    check_encoding(head, file.path)
    return head.removeprefix(codecs.BOM_UTF8)


def _number_type(texts: Sequence[str]) -> str:
    """Return the type that holds numbers without a loss, but for the digits of fractions."""
    whole = [text for text in texts if text.lstrip("-").isdigit()]
    if any(len(text) > _MOST_DIGITS for text in whole):
        return "VARCHAR"
    integers = [int(text) for text in whole]
    if len(integers) < len(texts):
        exact = all(int(float(number)) == number for number in integers)
        return "DOUBLE" if exact else "VARCHAR"
    for kind, (least, most) in _INTEGER_TYPES.items():
        if all(least <= number <= most for number in integers):
            return kind
    return "VARCHAR"
