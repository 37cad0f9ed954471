"""What a name in a query stands for: a column of ``input``, or a result column named before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from beam_jobs.sql.source import Query, table_name
from beam_jobs.sql.syntax import Node, rewrite


@dataclass(frozen=True)
class Source:
    """One of the tables or subqueries that a FROM joins.

    Attributes:
        leaf: Its node.
        columns: Names of its columns, in lower case.
    """

    leaf: Node
    columns: frozenset[str]

    @property
    def name(self) -> str:
        """What its columns may be qualified with, as it is written."""
        return str(self.leaf["alias"] or table_name(self.leaf) or "unnamed_subquery")


class Resolver:
    """Replaces the names of result columns by their expressions, as DuckDB's binder does.

    A name is a column of the source where there is one, else the result column of that name that
    stands further left.
    """

    def __init__(self, query: Query, select: Node, sources: Sequence[Source]) -> None:
        """Resolve the result columns of a SELECT.

        Args:
            query: The whole query.
            select: Its SELECT, or one within its FROM.
            sources: What the SELECT's FROM joins.
        """
        self._query = query
        self._select = select
        self._sources = sources
        self._aliases: dict[str, Node] = {}
        self.items: list[Node] = []
        for item in select["select_list"]:
            resolved = self.resolve({**item, "alias": ""})
            self.items.append(resolved)
            if item["alias"]:
                self._aliases.setdefault(item["alias"].lower(), resolved)

    def is_result_column(self, expression: Node) -> bool:
        """Whether an ORDER BY term is the bare name of a result column, which then goes first."""
        if expression.get("class") != "COLUMN_REF" or len(expression["column_names"]) != 1:
            return False
        name = expression["column_names"][0].lower()
        named = (item["alias"].lower() for item in self._select["select_list"])
        return name in named

    def result_column(self, node: Node) -> Node | None:
        """Return the expression of the result column that a bare name may stand for."""
        names = node["column_names"]
        return self._aliases.get(names[0].lower()) if len(names) == 1 else None

    def resolve(self, expression: Any, bound: frozenset[str] = frozenset()) -> Any:
        """Return an expression that names columns of the source only.

        Args:
            expression: A node or a list of nodes.
            bound: Parameters of the lambdas around it, which are no columns.

        Raises:
            QueryError: A name is no column at all, such as ``current_date`` or ``rowid``.
        """

        def replace(node: Node) -> Node | None:
            if node["class"] == "LAMBDA" and node.get("syntax_type") != "SINGLE_ARROW":
                parameters = bound | parameters_of(node)
                return {**node, "expr": self.resolve(node["expr"], parameters)}
            if node["class"] == "COLUMN_REF":
                return self._column(node, bound)
            return None

        return rewrite(expression, replace)

    def _column(self, node: Node, bound: frozenset[str]) -> Node:
        names = node["column_names"]
        first = names[0].lower()
        if first in bound:
            return node
        if len(names) > 1:
            for source in self._sources:
                if source.name.lower() == first and names[1].lower() in source.columns:
                    return self._qualified(node, source, names[1:])
        owners = [source for source in self._sources if first in source.columns]
        if len(owners) == 1:
            return self._qualified(node, owners[0], names)
        if owners:  # DuckDB took the name, so it stands after USING.
            return {**node, "alias": ""}
        if len(names) == 1 and first in self._aliases:
            return self._aliases[first]
        raise self._query.refuse(
            node, f"{'.'.join(names)} is no column of the input; write the value itself"
        )

    def _qualified(self, node: Node, source: Source, names: list[str]) -> Node:
        """Return a column under the one name that all its spellings share."""
        plain = len(self._sources) == 1
        return {**node, "column_names": names if plain else [source.name, *names], "alias": ""}


def parameters_of(function: Node) -> frozenset[str]:
    """Return the parameters of a lambda, in lower case: one name, or a row of names."""
    parameters = function["lhs"]
    if parameters["class"] == "COLUMN_REF":
        return frozenset({parameters["column_names"][0].lower()})
    return frozenset(
        argument["expression"]["column_names"][0].lower() for argument in parameters["arguments"]
    )
