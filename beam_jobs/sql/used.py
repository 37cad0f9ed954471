"""Which columns of ``input`` a query reads: only these have to be read from the files."""

from __future__ import annotations

from collections.abc import Mapping

from beam_jobs.sql.source import Query, leaves
from beam_jobs.sql.split import Split
from beam_jobs.sql.syntax import Node, walk


def used_columns(split: Split, columns: Mapping[str, str]) -> tuple[str, ...]:
    """Return the columns that a query names, in the order and spelling of the input.

    A name counts wherever it stands, also where it means something else, such as the field of a
    struct: reading a column too many costs time, leaving one out could change what a name means.

    Args:
        split: The query, its result columns' names resolved.
        columns: Name to DuckDB type of the columns of ``input``.
    """
    if _reads_all(split.query):
        return tuple(columns)
    read = [
        split.groups,
        split.where,
        [aggregate.node for aggregate in split.aggregates.values()],
        split.query.select["from_table"],
    ]
    named = {name.lower() for part in read for node in walk(part) for name in _names(node)}
    return tuple(name for name in columns if name.lower() in named)


def _names(node: Node) -> list[str]:
    if node.get("class") == "COLUMN_REF":
        return list(node["column_names"])
    return list(node["using_columns"]) if node.get("type") == "JOIN" else []


def _reads_all(query: Query) -> bool:
    """Whether the names of columns do not tell which are read.

    A plain ``*`` in the subquery of FROM passes columns on under their names; whatever picks,
    renames or numbers them is not followed.
    """
    source = query.select["from_table"]
    for node in walk(source):
        if node.get("class") == "STAR":
            plain = not any(
                node[part]
                for part in (
                    *("relation_name", "exclude_list", "replace_list", "columns", "expr"),
                    *("qualified_exclude_list", "rename_list"),
                )
            )
            if not plain:
                return True
    return any(leaf.get("column_name_alias") for node in _sources(source) for leaf in leaves(node))


def _sources(source: Node) -> list[Node]:
    """Return a FROM and those of its subqueries."""
    found = [source]
    for leaf in leaves(source):
        if leaf["type"] == "SUBQUERY":
            found += _sources(leaf["subquery"]["node"]["from_table"])
    return found
