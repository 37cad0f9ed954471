"""What a file holds, as a SELECT: a column per field, and what is wrong with a row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from local_cloud.bigquery import schema
from local_cloud.bigquery.schema import Field, SchemaError, quoted, text
from local_cloud.bigquery.sources import Source
from local_cloud.bigquery.values import json_value, member, parsed, record_problem, text_problem
from local_cloud.errors import ServiceError

Config = Mapping[str, Any]

# Of a row: why it cannot be loaded. No field of BigQuery's can have this name.
PROBLEM = "-problem"


def own_schema(source: Source) -> tuple[Field, ...]:
    """The schema in a Parquet file.

    Raises:
        ServiceError: It is no Parquet file, or a column cannot be loaded.
    """
    try:
        return schema.from_arrow(_parquet_schema(source))
    except SchemaError as error:
        raise _unreadable(source, str(error)) from error


def select(source: Source, fields: Sequence[Field], config: Config) -> str:
    """The SELECT of a file's rows.

    Args:
        source: The file.
        fields: The columns to load.
        config: The load job's configuration.

    Raises:
        ServiceError: The file does not hold such columns.
    """
    kind = config.get("sourceFormat") or "CSV"
    if kind == "PARQUET":
        return _parquet(source, fields, config)
    if kind == "NEWLINE_DELIMITED_JSON":
        return _json(source, fields, config)
    return _csv(source, fields, config)


def _csv(source: Source, fields: Sequence[Field], config: Config) -> str:
    if nested := next((one for one in fields if one.is_repeated or one.fields), None):
        raise ServiceError(400, f"Field {nested.name}: CSV has no nested or repeated fields")
    columns = {f"c{number}": field for number, field in enumerate(fields)}
    types = ", ".join(f"{text(name)}: 'VARCHAR'" for name in columns)
    delimiter = str(config.get("fieldDelimiter") or ",")
    found = config.get("quote")
    quote = text('"' if found is None else str(found))
    options = {
        "delim": text("\t" if delimiter in ("tab", "\\t") else delimiter),
        "quote": quote,
        "escape": quote,
        "skip": str(int(config.get("skipLeadingRows") or 0)),
        "nullstr": text(config.get("nullMarker") or ""),
        "header": "false",
        "auto_detect": "false",
        "allow_quoted_nulls": "false",
        "null_padding": "true" if config.get("allowJaggedRows") else "false",
        "compression": text("gzip" if source.path.suffix == ".gz" else "none"),
    }
    settings = ", ".join(f"{name} = {value}" for name, value in options.items())
    values = [f"{parsed(one, name)} AS {quoted(one.name)}" for name, one in columns.items()]
    problems = [text_problem(one, name, n) for n, (name, one) in enumerate(columns.items())]
    return (
        f"SELECT {', '.join(values)}, coalesce(NULL, {', '.join(problems)}) AS {quoted(PROBLEM)} "  # noqa: S608
        f"FROM read_csv({text(str(source.path))}, columns = {{{types}}}, {settings})"
    )


def _json(source: Source, fields: Sequence[Field], config: Config) -> str:
    values = [f"{json_value(one, member('json', one))} AS {quoted(one.name)}" for one in fields]
    ignore = bool(config.get("ignoreUnknownValues"))
    compression = "gzip" if source.path.suffix == ".gz" else "uncompressed"
    problem = record_problem(tuple(fields), "json", ignore_unknown=ignore)
    return (
        f"SELECT {', '.join(values)}, CASE WHEN json_type(json) <> 'OBJECT' "  # noqa: S608
        f"THEN 'Start of row is no object: ' || json ELSE {problem} END AS {quoted(PROBLEM)} "
        f"FROM read_ndjson_objects({text(str(source.path))}, compression = '{compression}')"
    )


def _parquet(source: Source, fields: Sequence[Field], config: Config) -> str:
    found = {column.name.lower(): column for column in _parquet_schema(source)}
    infer_lists = bool((config.get("parquetOptions") or {}).get("enableListInference"))
    values, problems = [], []
    for field in fields:
        column = found.pop(field.name.lower(), None)
        if column is None:
            values.append(f"CAST(NULL AS {field.sql_type}) AS {quoted(field.name)}")
            problem = "true"
        else:
            _check_column(source, column, field, infer_lists=infer_lists)
            name = quoted(column.name)
            # Unsigned integers beyond INT64 become NULL here, and a problem below.
            values.append(f"TRY_CAST({name} AS {field.sql_type}) AS {quoted(field.name)}")
            problem = f"{name} IS NULL"
            overflow = f"'Value out of range for field {field.name}: ' || {name}::VARCHAR"
            problems.append(
                f"CASE WHEN {name} IS NOT NULL AND TRY_CAST({name} AS {field.sql_type}) IS NULL "
                f"THEN {overflow} END"
            )
        if field.mode == "REQUIRED":
            problems.append(
                f"CASE WHEN {problem} THEN 'Only optional fields can be set to NULL. "
                f"Field: {field.name}; Value: NULL' END"
            )
    if found and not config.get("ignoreUnknownValues"):
        extra = next(iter(found.values())).name
        raise _unreadable(source, f"Parquet column '{extra}' is not in the schema")
    problem = f"coalesce(NULL, {', '.join(problems) or 'NULL'})::VARCHAR AS {quoted(PROBLEM)}"
    return f"SELECT {', '.join(values)}, {problem} FROM read_parquet({text(str(source.path))})"  # noqa: S608


def _check_column(
    source: Source, column: pa.Field[Any], field: Field, *, infer_lists: bool
) -> None:
    kind = column.type
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    if is_list and not infer_lists:
        raise _unreadable(
            source,
            f"Parquet column '{column.name}' is a list: the local BigQuery loads lists only with "
            "parquetOptions.enableListInference",
        )
    item = kind.value_type if is_list else kind
    if is_list != field.is_repeated or not _fits(item, field):
        raise _unreadable(
            source,
            f"Parquet column '{column.name}' has type {_parquet_name(kind)} which does not match "
            f"the target cpp_type {field.mode + ' ' if field.is_repeated else ''}{field.type}",
        )


def _fits(kind: pa.DataType, field: Field) -> bool:
    if field.type != "RECORD":
        return field.type in schema.scalar_types(kind)
    if not pa.types.is_struct(kind):
        return False
    members = {kind.field(n).name.lower(): kind.field(n).type for n in range(kind.num_fields)}
    inner = {one.name.lower(): one for one in field.fields}
    return members.keys() == inner.keys() and all(
        not inner[name].is_repeated and _fits(members[name], inner[name]) for name in inner
    )


def _parquet_name(kind: pa.DataType) -> str:
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return "BYTE_ARRAY (STRING)"
    return str(kind).upper()


def _parquet_schema(source: Source) -> pa.Schema:
    try:
        return pq.read_schema(source.path)
    except (pa.ArrowInvalid, OSError) as error:
        raise _unreadable(source, f"is not a valid Parquet file: {error}") from error


def _unreadable(source: Source, message: str) -> ServiceError:
    return ServiceError(
        400, f"Error while reading data, error message: {message} File: {source.uri}"
    )
