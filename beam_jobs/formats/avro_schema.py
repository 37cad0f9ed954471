"""What the fields of an Avro schema are: in the file, in Arrow and in DuckDB.

A field is read as the plainest type that is written in the same bytes, and becomes what it stands
for only then: ``int``, ``boolean`` and ``enum`` are read as ``long`` and then checked, a map as an
array of its entries.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import pyarrow as pa

from beam_jobs.engine.session import quote_name
from beam_jobs.formats import casts
from beam_jobs.formats.avro_blocks import zigzag
from beam_jobs.formats.widening import NULL, common

_LARGEST_PRECISION = 38
# Of each primitive: how it is read, Arrow's type of it, DuckDB's type, the bytes of its zero.
_PRIMITIVES: Mapping[str, tuple[str, pa.DataType, str, bytes]] = MappingProxyType(
    {
        "null": ("null", pa.null(), NULL, b""),
        "boolean": ("long", pa.int64(), "BOOLEAN", b"\0"),
        "int": ("long", pa.int64(), "INTEGER", b"\0"),
        "long": ("long", pa.int64(), "BIGINT", b"\0"),
        "float": ("float", pa.float32(), "FLOAT", bytes(4)),
        "double": ("double", pa.float64(), "DOUBLE", bytes(8)),
        "bytes": ("bytes", pa.large_binary(), "BLOB", b"\0"),
        "string": ("string", pa.large_string(), "VARCHAR", b"\0"),
    }
)
_LOGICAL: Mapping[tuple[str, str], str] = MappingProxyType(
    {
        ("int", "date"): "DATE",
        ("int", "time-millis"): "TIME",
        ("long", "time-micros"): "TIME",
        ("long", "timestamp-millis"): "TIMESTAMP WITH TIME ZONE",
        ("long", "timestamp-micros"): "TIMESTAMP WITH TIME ZONE",
        ("long", "timestamp-nanos"): "TIMESTAMPTZ_NS",
        ("long", "local-timestamp-millis"): "TIMESTAMP",
        ("long", "local-timestamp-micros"): "TIMESTAMP",
        ("long", "local-timestamp-nanos"): "TIMESTAMP_NS",
    }
)


class SchemaError(ValueError):
    """A schema that is none, or that cannot be read; the message says why."""


@dataclass(frozen=True)
class Node:
    """A type of a schema.

    Attributes:
        meaning: The Avro type, or the logical one where it has a DuckDB type.
        kind: DuckDB type; None for a union of types that have none in common.
        raw: The schema that it is read with, JSON.
        arrow: Arrow's type of what is read.
        zero: The bytes of its simplest value.
        children: Name and type of its parts; those of a map are ``key`` and ``value``.
        symbols: Of an enum.
        nullable: Place of the value's branch in a union with null; None if it is no such union.
        is_plain: Whether it is read by columns; else record by record.
    """

    meaning: str
    kind: str | None
    raw: Any
    arrow: pa.DataType
    zero: bytes
    children: tuple[tuple[str, Node], ...] = ()
    symbols: tuple[str, ...] = ()
    nullable: int | None = None
    is_plain: bool = True


@functools.lru_cache(maxsize=64)
def parse_schema(text: str) -> tuple[tuple[str, Node], ...]:
    """Return the fields of a schema, in their order.

    Raises:
        SchemaError: It is no schema of records, or has types that cannot be read.
    """
    try:
        schema = json.loads(text)
    except ValueError as error:
        raise SchemaError(f"is no JSON ({error})") from error
    if not isinstance(schema, dict) or schema.get("type") not in ("record", "error"):
        raise SchemaError("is none of records")
    try:
        fields = _Parser().record(schema, "").children
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise SchemaError(f"is no schema of Avro ({type(error).__name__}: {error})") from error
    names: dict[str, str] = {}
    for name, _ in fields:
        before = names.setdefault(name.lower(), name)
        if before is not name:
            raise SchemaError(
                f"has two fields of the names {before!r} and {name!r}, which are one in SQL"
            )
    return fields


class _Parser:
    """Reads a schema; each use of a named type becomes a type of its own."""

    def __init__(self) -> None:
        self._named: dict[str, tuple[Mapping[str, Any], str]] = {}
        self._open: list[str] = []
        self._count = 0

    def node(self, schema: Any, space: str) -> Node:
        if isinstance(schema, list):
            return self._union(schema, space)
        if isinstance(schema, str):
            schema = {"type": schema}
        kind = schema["type"]
        if isinstance(kind, (dict, list)):
            return self.node(kind, space)
        if kind in _PRIMITIVES:
            return self._primitive(schema)
        read = {
            "record": self.record,
            "error": self.record,
            "enum": self._enum,
            "fixed": self._fixed,
            "array": self._array,
            "map": self._map,
        }.get(kind)
        return read(schema, space) if read else self._use(kind, space)

    def record(self, schema: Mapping[str, Any], space: str) -> Node:
        name = self._name(schema, space)
        if name in self._open:
            raise SchemaError(f"has the type {name}, which contains itself")
        self._open.append(name)
        inner = name.rpartition(".")[0]
        fields = tuple((str(f["name"]), self.node(f["type"], inner)) for f in schema["fields"])
        self._open.pop()
        kinds = [f"{quote_name(name)} {node.kind}" for name, node in fields]
        alike = len({name.lower() for name, _ in fields}) < len(fields)
        known = fields and not alike and all(node.kind for _, node in fields)
        return Node(
            "record",
            casts.spelled(f"STRUCT({', '.join(kinds)})") if known else None,
            self._raw("record", fields=[{"name": n, "type": node.raw} for n, node in fields]),
            pa.struct([(name, node.arrow) for name, node in fields]),
            b"".join(node.zero for _, node in fields),
            fields,
            is_plain=bool(fields) and all(_is_plain(node) for _, node in fields),
        )

    def _name(self, schema: Mapping[str, Any], space: str) -> str:
        name: str = schema["name"]
        space = schema.get("namespace", space) or ""
        full = name if "." in name or not space else f"{space}.{name}"
        self._named[full] = (schema, full.rpartition(".")[0])
        return full

    def _use(self, name: str, space: str) -> Node:
        full = f"{space}.{name}" if space and "." not in name else name
        found = self._named.get(full) or self._named.get(name)
        if found is None:
            raise SchemaError(f"has the unknown type {name!r}")
        return self.node(*found)

    def _raw(self, kind: str, **rest: Any) -> dict[str, Any]:
        self._count += 1
        return {"type": kind, "name": f"t{self._count}", **rest}

    def _primitive(self, schema: Mapping[str, Any]) -> Node:
        name: str = schema["type"]
        raw, arrow, kind, zero = _PRIMITIVES[name]
        logical = schema.get("logicalType")
        if logical == "decimal" and name == "bytes":
            return _decimal(schema, "bytes", b"\x02\0") or Node(name, kind, raw, arrow, zero)
        if isinstance(logical, str) and (typed := _LOGICAL.get((name, logical))):
            return Node(logical, typed, raw, arrow, zero)
        return Node(name, kind, raw, arrow, zero, is_plain=name != "null")

    def _enum(self, schema: Mapping[str, Any], space: str) -> Node:
        self._name(schema, space)
        return Node("enum", "VARCHAR", "long", pa.int64(), b"\0", symbols=tuple(schema["symbols"]))

    def _fixed(self, schema: Mapping[str, Any], space: str) -> Node:
        self._name(schema, space)
        size = int(schema["size"])
        raw = self._raw("fixed", size=size)
        plain = Node("fixed", "BLOB", raw, pa.large_binary(), bytes(size), is_plain=size > 0)
        if schema.get("logicalType") == "decimal":
            return _decimal(schema, raw, bytes(size)) or plain
        return plain

    def _array(self, schema: Mapping[str, Any], space: str) -> Node:
        item = self.node(schema["items"], space)
        if not item.zero:
            raise SchemaError("has an array of items that take no bytes")
        return Node(
            "array",
            f"{item.kind}[]" if item.kind else None,
            {"type": "array", "items": item.raw},
            pa.large_list(item.arrow),
            b"\0",
            (("item", item),),
            is_plain=_is_plain(item),
        )

    def _map(self, schema: Mapping[str, Any], space: str) -> Node:
        key, value = self.node("string", space), self.node(schema["values"], space)
        fields = [{"name": "key", "type": key.raw}, {"name": "value", "type": value.raw}]
        return Node(
            "map",
            f"MAP(VARCHAR, {value.kind})" if value.kind else None,
            {"type": "array", "items": self._raw("record", fields=fields)},
            pa.large_list(pa.struct([("key", key.arrow), ("value", value.arrow)])),
            b"\0",
            (("key", key), ("value", value)),
            is_plain=_is_plain(value),
        )

    def _union(self, schema: Sequence[Any], space: str) -> Node:
        nodes = [self.node(branch, space) for branch in schema]
        raw = [node.raw for node in nodes]
        zero = b"\0" + nodes[0].zero
        values = [node for node in nodes if node.meaning != "null"]
        if len(values) == 1:
            (value,) = values
            place = nodes.index(value)
            is_plain = sorted(node.meaning == "null" for node in nodes) == [
                False,
                True,
            ] and _is_plain(value)
            return replace(value, raw=raw, zero=zero, nullable=place, is_plain=is_plain)
        # Of several types, those of numbers only: others have no type in common.
        numbers = all(node.meaning in ("int", "long", "float", "double") for node in values)
        kind = (
            functools.reduce(_common, [node.kind for node in values])
            if numbers and values
            else None
        )
        arrow = pa.float64() if kind in ("FLOAT", "DOUBLE") else pa.int64()
        return Node("union", kind, raw, arrow, zero, is_plain=False)


def _common(one: str | None, other: str | None) -> str | None:
    return common(one, other) if one and other else None


def _decimal(schema: Mapping[str, Any], raw: Any, zero: bytes) -> Node | None:
    """Return a decimal; None where it is none, and stands for its bytes."""
    precision, scale = schema.get("precision"), schema.get("scale", 0)
    if not isinstance(precision, int) or not isinstance(scale, int):
        return None
    if not 0 < precision <= _LARGEST_PRECISION or not 0 <= scale <= precision:
        return None
    logical = {"logicalType": "decimal", "precision": precision, "scale": scale}
    raw = {**raw, **logical} if isinstance(raw, dict) else {"type": raw, **logical}
    kind = f"DECIMAL({precision},{scale})"
    return Node("decimal", kind, raw, pa.decimal128(precision, scale), zero)


def _is_plain(node: Node) -> bool:
    return node.is_plain and node.meaning != "null"


def sentinel(fields: Sequence[tuple[str, Node]], place: int, nonce: bytes) -> bytes:
    """Return a record whose only value that is not the simplest one is a text or bytes.

    Args:
        fields: Of the record.
        place: Of the field, as `sentinel_place` gives it.
        nonce: The value.
    """
    found = [node.zero for _, node in fields]
    branch = fields[place][1].nullable
    prefix = b"" if branch is None else zigzag(branch)
    number = int.from_bytes(nonce[:7], "big")
    is_long = fields[place][1].meaning == "long"
    found[place] = prefix + (zigzag(number) if is_long else zigzag(len(nonce)) + nonce)
    return b"".join(found)


def sentinel_place(fields: Sequence[tuple[str, Node]], wanted: Sequence[str]) -> int | None:
    """Return the place of a field for a `sentinel`, a wanted one if there is; None for none."""
    places = [
        place
        for place, (_, node) in enumerate(fields)
        if node.meaning in ("string", "bytes", "long")
    ]
    return min(places, key=lambda place: fields[place][0] not in wanted, default=None)
