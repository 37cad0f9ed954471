"""Cuts a resolved query into its relations and its final query; `plan` tells what these are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from beam_jobs.sql import functions
from beam_jobs.sql.aggregates import Aggregate, Splitter, ValueRelation
from beam_jobs.sql.resolve import Resolver
from beam_jobs.sql.source import Query
from beam_jobs.sql.syntax import (
    Node,
    column,
    fingerprint,
    parse_select,
    print_select,
    rewrite,
    walk,
)

AGGREGATED = "aggregated"
# Tells the rows of one grouping set from those of another.
SET = "_set"


@dataclass
class Split:
    """A query cut into its parts.

    Attributes:
        query: The query.
        groups: What it groups by, over the columns of its FROM.
        sets: Numbers of the groups in each grouping set; None where there is but one.
        where: WHERE, over the columns of its FROM.
        splitter: Has the value relations.
        aggregates: The aggregate calls, by what makes two of them the same.
        groupings: Calls of GROUPING over the keys, with the name of their column.
        final: The final query.
        sorts: Whether `final` sorts its rows by itself, whatever the order of AGGREGATED.
    """

    query: Query
    groups: list[Node]
    sets: list[list[int]] | None
    where: Any
    splitter: Splitter
    aggregates: dict[str, Aggregate] = field(default_factory=dict)
    groupings: dict[str, str] = field(default_factory=dict)
    final: str = ""
    sorts: bool = False

    @property
    def keys(self) -> list[str]:
        """Names of the columns of the groups."""
        return [f"_g{n}" for n in range(len(self.groups))]

    @property
    def early_sets(self) -> bool:
        """Whether every block computes the grouping sets, so that rows are met in their order.

        Elsewhere that waits for the end, where there are fewer rows.
        """
        return bool(self.sets and self.groups) and any(
            aggregate.state and functions.depends_on_order(aggregate.node)
            for aggregate in self.aggregates.values()
        )

    @property
    def values(self) -> list[ValueRelation]:
        """The value relations, in order of their numbers."""
        return list(self.splitter.relations.values())

    def over_groups(self, expression: Any) -> Any:
        """Replace group expressions and aggregates by columns of AGGREGATED.

        Raises:
            QueryError: A column of the input is left over.
        """
        keys = [fingerprint(group) for group in self.groups]

        def replace(node: Node) -> Node | None:
            if node["class"] == "CONSTANT" and not self.sets:
                return None  # As good as the group it may be, and some arguments are constants.
            key = fingerprint(node)
            if key in keys:
                return column(f"_g{keys.index(key)}")
            if functions.is_aggregate(node):
                return self._aggregate(node)
            if node.get("type") == "GROUPING_FUNCTION":
                return self._grouping(node)
            if node["class"] == "LAMBDA" and node.get("syntax_type") != "SINGLE_ARROW":
                return node if not _aggregated(node) else None
            if node["class"] == "COLUMN_REF":
                name = ".".join(node["column_names"])
                raise self.query.refuse(
                    node, f"{name} is neither in GROUP BY nor inside an aggregate function"
                )
            return None

        return rewrite(expression, replace)

    def _aggregate(self, node: Node) -> Node:
        key = fingerprint(node)
        if key not in self.aggregates:
            _refuse_collations(self.query, node["arguments"])
            self.aggregates[key] = self.splitter.split(node, len(self.aggregates))
        return column(f"_a{list(self.aggregates).index(key)}")

    def _grouping(self, node: Node) -> Node:
        """Replace GROUPING(…), which only the query with the grouping sets can answer."""
        keys = [fingerprint(group) for group in self.groups]
        terms = ", ".join(f"_g{keys.index(fingerprint(child))}" for child in node["children"])
        name = self.groupings.setdefault(f"GROUPING({terms})", f"_x{len(self.groupings)}")
        return column(name)


def split_query(query: Query, resolver: Resolver, names: list[str]) -> Split:
    """Split a query whose names are resolved.

    Args:
        query: The query.
        resolver: Knows what its names stand for.
        names: The result columns' names, in order.

    Raises:
        QueryError: An expression is neither grouped by nor aggregated.
    """
    select = query.select
    sets = select["group_sets"]
    split = Split(
        query,
        groups=_group_expressions(query, resolver),
        sets=sets if len(sets) > 1 else None,
        where=resolver.resolve(select["where_clause"]),
        splitter=Splitter(),
    )
    _refuse_collations(query, split.groups)
    if split.sets and len({fingerprint(group) for group in split.groups}) < len(split.groups):
        raise query.refuse(split.groups[0], "groups by one expression under two names")
    items = [
        {**split.over_groups(item), "alias": name}
        for item, name in zip(resolver.items, names, strict=True)
    ]

    def rewritten(expression: Any) -> Any:
        return split.over_groups(resolver.resolve(expression))

    def ordered(expression: Node) -> Node:
        # A position, ALL and the name of a result column mean what they meant in the query.
        if expression["class"] in ("CONSTANT", "STAR") or resolver.is_result_column(expression):
            return expression
        node: Node = rewritten(expression)
        return node

    final = {
        **select,
        "select_list": items,
        "from_table": parse_select(f"SELECT 1 FROM {AGGREGATED}")["node"]["from_table"],
        "where_clause": rewritten(_having(query, resolver, split)),
        "having": None,
        "qualify": rewritten(select["qualify"]),
        "group_expressions": [],
        "group_sets": [],
        "aggregate_handling": "STANDARD_HANDLING",
        "modifiers": [_modifier(modifier, ordered) for modifier in select["modifiers"]],
    }
    split.sorts = _can_sort(final)
    if split.sorts:
        final["modifiers"] = _sorted_by(final["modifiers"], sort_keys(split))
    split.final = print_select(final)
    return split


def _refuse_collations(query: Query, values: list[Node]) -> None:
    """Refuse collations where values are compared over blocks, which know nothing of them."""
    for node in walk(values):
        if node.get("class") == "COLLATE":
            raise query.refuse(node, "COLLATE is not supported here: write lower(…) or the like")


def _having(query: Query, resolver: Resolver, split: Split) -> Any:
    """Return HAVING with result columns in place of columns that it may not name.

    A column of the input that is not grouped by would be an error, so DuckDB takes the result
    column of that name.
    """
    grouped = {fingerprint(group) for group in split.groups}

    def replace(node: Node) -> Node | None:
        if functions.is_aggregate(node):
            return node
        if node["class"] == "COLUMN_REF" and fingerprint(resolver.resolve(node)) not in grouped:
            return resolver.result_column(node)
        return None

    return rewrite(query.select["having"], replace)


def _group_expressions(query: Query, resolver: Resolver) -> list[Node]:
    """Return what the query groups by, as expressions over the source's columns."""
    if query.groups_all:
        return [item for item in resolver.items if not _aggregated(item)]
    groups = []
    for expression in query.select["group_expressions"]:
        if expression["class"] == "CONSTANT" and expression["literal"]["kind"] == "INTEGER":
            groups.append(resolver.items[int(expression["literal"]["text"]) - 1])
        else:
            groups.append(resolver.resolve({**expression, "alias": ""}))
    return groups


def _aggregated(item: Node) -> bool:
    return any(
        functions.is_aggregate(node) or node.get("type") == "GROUPING_FUNCTION"
        for node in walk(item)
    )


def sort_keys(split: Split) -> list[str]:
    """Return the columns of AGGREGATED that order its rows, no two of which are alike."""
    return split.keys + ([SET] if split.sets else [])


def _can_sort(final: Node) -> bool:
    """Whether the groups' order matters to nothing but the order of the result's rows."""
    return not any(
        node.get("class") == "WINDOW"
        or node.get("type") == "DISTINCT_MODIFIER"
        or str(node.get("function_name")).lower() == "unnest"
        for node in walk(final)
    )


def _sorted_by(modifiers: list[Node], keys: list[str]) -> list[Node]:
    """Let rows that a query leaves in any order follow the order of the groups."""
    if not keys:
        return modifiers
    terms = [
        {"type": "ORDER_DEFAULT", "null_order": "ORDER_DEFAULT", "expression": column(key)}
        for key in keys
    ]
    orders = [modifier for modifier in modifiers if modifier["type"] == "ORDER_MODIFIER"]
    if not orders:
        return [{"type": "ORDER_MODIFIER", "orders": terms}, *modifiers]
    if any(term["expression"]["class"] == "STAR" for term in orders[0]["orders"]):
        return modifiers  # ORDER BY ALL: what is left are equal rows.
    return [
        {**modifier, "orders": modifier["orders"] + terms} if modifier is orders[0] else modifier
        for modifier in modifiers
    ]


def _modifier(modifier: Node, ordered: Callable[[Node], Node]) -> Node:
    """Rewrite the expressions of ORDER BY and DISTINCT ON; LIMIT has none over rows."""
    if modifier["type"] == "ORDER_MODIFIER":
        orders = [{**o, "expression": ordered(o["expression"])} for o in modifier["orders"]]
        return {**modifier, "orders": orders}
    if modifier["type"] == "DISTINCT_MODIFIER":
        targets = [ordered(target) for target in modifier["distinct_on_targets"]]
        return {**modifier, "distinct_on_targets": targets}
    return modifier
