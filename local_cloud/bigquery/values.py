"""SQL that turns text and JSON into a column's type, and that says why a value cannot be."""

from __future__ import annotations

from local_cloud.bigquery.schema import Field, quoted, text

_DATE = r"\d{4}-\d{1,2}-\d{1,2}"
_TIME = r"\d{1,2}:\d{1,2}:\d{1,2}(\.\d{1,6})?"
_ZONE = r" ?(Z|UTC|[+-]\d{1,2}(:?\d{2})?| [A-Za-z]+(/[A-Za-z_]+)*)"
_PATTERNS = {
    "INTEGER": r"\s*[+-]?\d+\s*",
    "DATE": _DATE,
    "TIME": _TIME,
    "DATETIME": rf"{_DATE}([ Tt]{_TIME})?",
    "TIMESTAMP": rf"{_DATE}([ Tt]\d{{1,2}}:\d{{1,2}}(:\d{{1,2}}(\.\d{{1,6}})?)?({_ZONE})?)?",
}
_EPOCH_SECONDS = r"-?\d+(\.\d{1,6})?([eE]\d+)?"
_TRUE = "'true', 't', 'yes', 'y', '1'"
_FALSE = "'false', 'f', 'no', 'n', '0'"
_TYPE_NAMES = {"INTEGER": "INT64", "FLOAT": "double", "BOOLEAN": "bool"}


def parsed(field: Field, value: str) -> str:
    """The SQL of a scalar's value; NULL where the text is none of its type.

    Args:
        field: The column.
        value: SQL of the text.
    """
    if field.type == "STRING":
        return value
    if field.type == "BYTES":
        return f"TRY(from_base64({value}))"
    if field.type == "BOOLEAN":
        word = f"lower({value})"
        return f"CASE WHEN {word} IN ({_TRUE}) THEN true WHEN {word} IN ({_FALSE}) THEN false END"
    cast = f"TRY_CAST({value} AS {field.item_type})"
    if field.type not in _PATTERNS:
        return cast
    checked = f"CASE WHEN {_matches(value, _PATTERNS[field.type])} THEN {cast}"
    if field.type == "TIMESTAMP":
        seconds = f"TRY(make_timestamp(CAST(CAST({value} AS DOUBLE) * 1000000 AS BIGINT)))"
        checked += f" WHEN {_matches(value, _EPOCH_SECONDS)} THEN {seconds}::TIMESTAMPTZ"
    return f"{checked} END"


def _matches(value: str, pattern: str) -> str:
    return f"regexp_full_match({value}, {text(pattern)})"


def text_problem(field: Field, value: str, position: int) -> str:
    """The SQL of what is wrong with a field of a CSV row; NULL if nothing is."""
    name = _TYPE_NAMES.get(field.type, field.type)
    place = f"for field {field.name} (position {position})"
    bad = f"'Could not parse ''' || {value} || ''' as {name} {place}'"
    problem = f"CASE WHEN {value} IS NOT NULL AND {parsed(field, value)} IS NULL THEN {bad}"
    if field.mode == "REQUIRED":
        missing = f"Required column value for column index: {position} is missing"
        problem += f" WHEN {value} IS NULL THEN '{missing} in row starting'"
    return f"{problem} END"


def json_value(field: Field, value: str, depth: int = 0) -> str:
    """The SQL of a column's value.

    Args:
        field: The column.
        value: SQL of its JSON.
        depth: How many lists it is in.
    """
    if field.is_repeated:
        item = _json_item(field, f"e{depth}", depth + 1)
        return f"list_transform(TRY_CAST({value} AS JSON[]), lambda e{depth}: {item})"
    return _json_item(field, value, depth)


def _json_item(field: Field, value: str, depth: int) -> str:
    if field.type != "RECORD":
        return parsed(field, f"({value} ->> '$')")
    inner = ", ".join(
        f"{quoted(one.name)} := {json_value(one, member(value, one), depth)}"
        for one in field.fields
    )
    return f"CASE WHEN {_is_null(value)} THEN NULL ELSE struct_pack({inner}) END"


def member(value: str, field: Field) -> str:
    """The SQL of a member's JSON."""
    return f"({value} -> {text('$.' + quoted(field.name))})"


def _is_null(value: str) -> str:
    return f"coalesce(json_type({value}), 'NULL') = 'NULL'"


def record_problem(
    fields: tuple[Field, ...], value: str, *, ignore_unknown: bool, depth: int = 0
) -> str:
    """The SQL of what is wrong with a JSON object; NULL if nothing is."""
    problems = [
        _json_problem(one, member(value, one), ignore_unknown=ignore_unknown, depth=depth)
        for one in fields
    ]
    if not ignore_unknown:
        known = ", ".join(text(one.name) for one in fields)
        unknown = f"list_filter(json_keys({value}), lambda k{depth}: k{depth} NOT IN ({known}))"
        problems.append(f"'No such field: ' || {unknown}[1] || '.'")
    return f"coalesce({', '.join(problems)})"


def _json_problem(field: Field, value: str, *, ignore_unknown: bool, depth: int) -> str:
    if not field.is_repeated:
        return _item_problem(field, value, ignore_unknown=ignore_unknown, depth=depth)
    item = _item_problem(field, f"e{depth}", ignore_unknown=ignore_unknown, depth=depth + 1)
    items = f"TRY_CAST({value} AS JSON[]), lambda e{depth}"
    problems = f"list_transform({items}: {item})"
    nulls = f"list_bool_or(list_transform({items}: {_is_null(f'e{depth}')}))"
    null = f"Only optional fields can be set to NULL. Field: {field.name}; Value: NULL"
    return (
        f"CASE WHEN {_is_null(value)} THEN NULL WHEN json_type({value}) <> 'ARRAY' "
        f"THEN 'Nonarray value was specified for repeated field {field.name}.' "
        f"WHEN {nulls} THEN '{null}' "
        f"ELSE list_filter({problems}, lambda p{depth}: p{depth} IS NOT NULL)[1] END"
    )


def _item_problem(field: Field, value: str, *, ignore_unknown: bool, depth: int) -> str:
    cases = [
        (
            f"json_type({value}) = 'ARRAY'",
            f"'Array specified for non-repeated field: {field.name}.'",
        )
    ]
    if field.mode == "REQUIRED":
        cases.insert(0, (_is_null(value), f"'Missing required field: {field.name}.'"))
    if field.type == "RECORD":
        inner = record_problem(field.fields, value, ignore_unknown=ignore_unknown, depth=depth)
        wrong = f"'This field: {field.name} is a record.'"
        cases += [(f"json_type({value}) NOT IN ('OBJECT', 'NULL')", wrong)]
        cases += [(f"json_type({value}) = 'OBJECT'", inner)]
    else:
        scalar = f"({value} ->> '$')"
        wrong = f"'JSON object specified for non-record field: {field.name}'"
        name = field.type.lower()
        bad = f"'Could not convert value to {name}. Field: {field.name}; Value: ' || {scalar}"
        cases += [(f"json_type({value}) = 'OBJECT'", wrong)]
        cases += [(f"{scalar} IS NOT NULL AND {parsed(field, scalar)} IS NULL", bad)]
    whens = " ".join(f"WHEN {condition} THEN {result}" for condition, result in cases)
    return f"CASE {whens} END"
