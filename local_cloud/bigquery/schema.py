"""Table schemas: BigQuery's fields, and the DuckDB and Parquet types their values have here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from local_cloud.errors import ServiceError

# The names that the API answers with, for those that it takes.
_ALIASES = {"INT64": "INTEGER", "FLOAT64": "FLOAT", "BOOL": "BOOLEAN", "STRUCT": "RECORD"}

_SQL_TYPES = {
    "STRING": "VARCHAR",
    "BYTES": "BLOB",
    "INTEGER": "BIGINT",
    "FLOAT": "DOUBLE",
    "BOOLEAN": "BOOLEAN",
    "NUMERIC": "DECIMAL(38,9)",
    "TIMESTAMP": "TIMESTAMPTZ",
    "DATE": "DATE",
    "DATETIME": "TIMESTAMP",
    "TIME": "TIME",
}
_MODES = ("NULLABLE", "REQUIRED", "REPEATED")
# Of NUMERIC.
_SCALE, _WHOLE_DIGITS = 9, 29
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,299}")


class SchemaError(ValueError):
    """A schema, or a field of one, that cannot be used; its text is for the user."""


@dataclass(frozen=True)
class Field:
    """A column, or a field within one.

    Attributes:
        name: Its name.
        type: BigQuery's type, under the name that the API answers with.
        mode: ``NULLABLE``, ``REQUIRED`` or ``REPEATED``.
        fields: Those of a ``RECORD``.
    """

    name: str
    type: str
    mode: str = "NULLABLE"
    fields: tuple[Field, ...] = ()

    @property
    def is_repeated(self) -> bool:
        """Whether its value is a list."""
        return self.mode == "REPEATED"

    @property
    def item_type(self) -> str:
        """The DuckDB type of one value."""
        if self.type != "RECORD":
            return _SQL_TYPES[self.type]
        inner = ", ".join(f"{quoted(field.name)} {field.sql_type}" for field in self.fields)
        return f"STRUCT({inner})"

    @property
    def sql_type(self) -> str:
        """The DuckDB type of the column."""
        return f"{self.item_type}[]" if self.is_repeated else self.item_type

    def to_json(self) -> dict[str, Any]:
        """The field as the API has it."""
        found: dict[str, Any] = {"name": self.name, "type": self.type, "mode": self.mode}
        if self.fields:
            found["fields"] = [field.to_json() for field in self.fields]
        return found


def quoted(name: str) -> str:
    """A name as an identifier in DuckDB's SQL."""
    return '"' + name.replace('"', '""') + '"'


def text(value: str) -> str:
    """A string as a literal in DuckDB's SQL."""
    return "'" + value.replace("'", "''") + "'"


def parse_fields(found: Iterable[Mapping[str, Any]]) -> tuple[Field, ...]:
    """The fields of a schema's JSON.

    Raises:
        SchemaError: A name, type or mode is not one of BigQuery's.
        ServiceError: A type that the local BigQuery does not have.
    """
    fields = tuple(_parse_field(one) for one in found)
    names = [field.name.lower() for field in fields]
    for name in names:
        if names.count(name) > 1:
            raise SchemaError(f"Field {name} already exists in schema")
    return fields


def _parse_field(found: Mapping[str, Any]) -> Field:
    name, mode = str(found.get("name", "")), str(found.get("mode") or "NULLABLE").upper()
    kind = str(found.get("type", "")).upper()
    kind = _ALIASES.get(kind, kind)
    if not _NAME.fullmatch(name):
        raise SchemaError(
            f'Invalid field name "{name}". Fields must contain only letters, numbers, and '
            "underscores, start with a letter or underscore, and be at most 300 characters long."
        )
    if mode not in _MODES:
        raise SchemaError(f"Invalid mode {mode} of field {name}")
    if kind in ("BIGNUMERIC", "BIGDECIMAL", "JSON", "GEOGRAPHY", "INTERVAL", "RANGE"):
        raise ServiceError(
            501, f"The local BigQuery has no columns of type {kind} (field {name}); use another."
        )
    if kind == "RECORD":
        if not found.get("fields"):
            raise SchemaError(f"Field {name} is type RECORD but has no schema")
        return Field(name, kind, mode, parse_fields(found["fields"]))
    if kind not in _SQL_TYPES:
        raise SchemaError(f"Invalid value for type: {kind} is not a valid value (field {name})")
    return Field(name, kind, mode)


def normalized(found: Mapping[str, Any]) -> dict[str, Any]:
    """A field's JSON as the API answers with it: checked names and modes, descriptions kept."""
    field = dict(found) | {
        "type": _ALIASES.get(str(found["type"]).upper(), str(found["type"]).upper()),
        "mode": str(found.get("mode") or "NULLABLE").upper(),
    }
    if found.get("fields"):
        field["fields"] = [normalized(one) for one in found["fields"]]
    return field


def from_arrow(schema: pa.Schema) -> tuple[Field, ...]:
    """The schema that a Parquet file brings along.

    Raises:
        SchemaError: A column has a type that BigQuery does not load.
    """
    return tuple(_from_arrow(column.name, column.type) for column in schema)


def _from_arrow(name: str, kind: pa.DataType) -> Field:
    if not _NAME.fullmatch(name):
        raise SchemaError(f'Invalid field name "{name}".')
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        item = _from_arrow(name, kind.value_type)
        return Field(name, item.type, "REPEATED", item.fields)
    if pa.types.is_struct(kind):
        fields = tuple(
            _from_arrow(kind.field(n).name, kind.field(n).type) for n in range(kind.num_fields)
        )
        return Field(name, "RECORD", fields=fields)
    found = scalar_types(kind)
    if not found:
        raise SchemaError(f"Parquet column '{name}' has type {kind}, which cannot be loaded")
    return Field(name, found[0])


def scalar_types(kind: pa.DataType) -> tuple[str, ...]:
    """The BigQuery types that a Parquet type can be loaded as, the usual one first."""
    types = pa.types
    if types.is_dictionary(kind):
        kind = kind.value_type
    rules = (
        (types.is_integer, ("INTEGER",)),
        (types.is_floating, ("FLOAT",)),
        (types.is_boolean, ("BOOLEAN",)),
        (lambda k: types.is_string(k) or types.is_large_string(k), ("STRING",)),
        (
            lambda k: (
                types.is_binary(k) or types.is_large_binary(k) or types.is_fixed_size_binary(k)
            ),
            ("BYTES",),
        ),
        (types.is_date, ("DATE",)),
        (types.is_time, ("TIME",)),
        (lambda k: types.is_timestamp(k) and k.tz is not None, ("TIMESTAMP", "DATETIME")),
        (types.is_timestamp, ("DATETIME", "TIMESTAMP")),
        (
            lambda k: (
                types.is_decimal(k) and k.scale <= _SCALE and k.precision - k.scale <= _WHOLE_DIGITS
            ),
            ("NUMERIC",),
        ),
    )
    return next((names for matches, names in rules if matches(kind)), ())


def difference(table: str, ours: Iterable[Field], theirs: Iterable[Field]) -> str | None:
    """Why rows of a schema cannot be put into a table of another; None if they can.

    Args:
        table: The table's name, for the message.
        ours: The table's schema.
        theirs: The rows' schema.
    """
    begin = f"Provided Schema does not match Table {table}."
    existing = {field.name.lower(): field for field in ours}
    given = {field.name.lower(): field for field in theirs}
    for name, field in given.items():
        if name not in existing:
            return f"{begin} Cannot add fields (field: {field.name})"
        known = existing[name]
        if known.type != field.type:
            return f"{begin} Field {field.name} has changed type from {known.type} to {field.type}"
        if field.mode not in (known.mode, "NULLABLE") or known.is_repeated != field.is_repeated:
            return f"{begin} Field {field.name} has changed mode from {known.mode} to {field.mode}"
        if nested := known.fields and difference(table, known.fields, field.fields):
            return nested
    for name, known in existing.items():
        if name not in given and known.mode == "REQUIRED":
            return f"{begin} Field {known.name} is missing in new schema"
    return None
