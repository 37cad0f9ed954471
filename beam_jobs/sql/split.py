"""Cuts a resolved query into the SQL of its partial, merge and final stage."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from beam_jobs.sql import functions
from beam_jobs.sql.resolve import Resolver
from beam_jobs.sql.shape import Query
from beam_jobs.sql.syntax import (
    Node,
    column,
    fingerprint,
    parse_expression,
    parse_select,
    print_expression,
    print_select,
    rewrite,
    walk,
)

STATES = "states"
AGGREGATED = "aggregated"
_NO_FIELDS = "'v': NULL"
_NO_ORDER = {"type": "ORDER_MODIFIER", "orders": []}


@dataclass(frozen=True)
class Aggregate:
    """One aggregate call, split.

    Attributes:
        partial: The node that computes its state over one block.
        gather: SQL over the column of its states, one value per group; ``{type}`` is their type.
        finish: SQL over what was gathered, which gives the aggregate's value.
    """

    partial: Node
    gather: str
    finish: str


@dataclass(frozen=True)
class Split:
    """A query cut into its stages.

    Attributes:
        partial: The partial query.
        final: The final query.
        merge: Gives the merge query once the types of the states' columns are known.
    """

    partial: str
    final: str
    merge: Callable[[Mapping[str, str]], str]


@dataclass
class _Stages:
    """The columns of the merge, collected while the final query is rewritten."""

    groups: list[Node]
    has_sets: bool
    aggregates: dict[str, Aggregate] = field(default_factory=dict)
    groupings: dict[str, str] = field(default_factory=dict)

    def aggregate(self, node: Node) -> Node:
        key = fingerprint(node)
        if key not in self.aggregates:
            self.aggregates[key] = _split_aggregate(node, len(self.aggregates))
        return column(f"_a{list(self.aggregates).index(key)}")

    def grouping(self, node: Node) -> Node:
        """Replace GROUPING(…), which only the merge, where the grouping sets are, can answer."""
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
    stages = _Stages(_group_expressions(query, resolver), len(select["group_sets"]) > 1)
    items = [
        {**_over_groups(query, item, stages), "alias": name}
        for item, name in zip(resolver.items, names, strict=True)
    ]

    def rewritten(expression: Any) -> Any:
        return _over_groups(query, resolver.resolve(expression), stages)

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
        "where_clause": rewritten(_having(query, resolver, stages)),
        "having": None,
        "qualify": rewritten(select["qualify"]),
        "group_expressions": [],
        "group_sets": [],
        "aggregate_handling": "STANDARD_HANDLING",
        "modifiers": [_modifier(modifier, ordered) for modifier in select["modifiers"]],
    }
    return Split(
        partial=_partial(select, resolver, stages),
        final=print_select(final),
        merge=lambda kinds: _merge(stages, select["group_sets"], kinds),
    )


def _having(query: Query, resolver: Resolver, stages: _Stages) -> Any:
    """Return HAVING with result columns in place of columns that it may not name.

    A column of the input that is not grouped by would be an error, so DuckDB takes the result
    column of that name.
    """
    grouped = {fingerprint(group) for group in stages.groups}

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


def _over_groups(query: Query, expression: Any, stages: _Stages) -> Any:
    """Replace group expressions and aggregates by columns of the merge.

    Raises:
        QueryError: A column of the input is left over.
    """
    keys = [fingerprint(group) for group in stages.groups]

    def replace(node: Node) -> Node | None:
        if node["class"] == "CONSTANT" and not stages.has_sets:
            return None  # As good as the group it may be, and some arguments have to be constants.
        key = fingerprint(node)
        if key in keys:
            return column(f"_g{keys.index(key)}")
        if functions.is_aggregate(node):
            return stages.aggregate(node)
        if node.get("type") == "GROUPING_FUNCTION":
            return stages.grouping(node)
        if node["class"] == "LAMBDA" and node.get("syntax_type") != "SINGLE_ARROW":
            return node if not _aggregated(node) else None
        if node["class"] == "COLUMN_REF":
            name = ".".join(node["column_names"])
            raise query.refuse(
                node, f"{name} is neither in GROUP BY nor inside an aggregate function"
            )
        return None

    return rewrite(expression, replace)


def _split_aggregate(node: Node, number: int) -> Aggregate:
    """Choose how an aggregate is computed over blocks; `number` is that of its columns."""
    name = node["function_name"].lower()
    state, gathered = f"_s{number}", f"_m{number}"
    if name in functions.MERGED_BY and not node["distinct"]:
        return Aggregate(
            partial={**node, "order_bys": _NO_ORDER},
            gather=f"CAST({functions.MERGED_BY[name]}({state}) AS {{type}})",
            finish=gathered,
        )
    if node["distinct"] or node["order_bys"]["orders"]:
        return _split_values(node, state, gathered)
    if name == "last":
        # Wrapped, so that a block without rows (NULL) differs from one whose last value is NULL.
        value = print_expression(node["arguments"][0]["expression"])
        return Aggregate(
            partial={**parse_expression(f"last({{'v': {value}}})"), "filter": node["filter"]},
            gather=f"last({state}) FILTER ({state} IS NOT NULL)",
            finish=f"{gathered}.v",
        )
    return Aggregate(
        partial={**node, "export_state": True},
        gather=f"finalize(combine_aggr({state}))",
        finish=gathered,
    )


def _split_values(node: Node, state: str, gathered: str) -> Aggregate:
    """Plan an aggregate with DISTINCT or ORDER BY: the merge aggregates the values themselves.

    The states that DuckDB exports for these do not merge: those of DISTINCT forget the values, and
    those of ORDER BY come out in the order of the blocks.
    """
    carried: dict[str, Node] = {}

    def carry(expression: Node) -> Node:
        if not any(part.get("class") == "COLUMN_REF" for part in walk(expression)):
            return expression  # A separator or a fraction, which has to stay a constant.
        key = fingerprint(expression)
        carried.setdefault(key, expression)
        return parse_expression(f"u.v.v{list(carried).index(key)}")

    def carry_all(terms: list[Node]) -> list[Node]:
        return [{**term, "expression": carry(term["expression"])} for term in terms]

    call = {
        **node,
        "filter": None,
        "arguments": carry_all(node["arguments"]),
        "order_bys": {**node["order_bys"], "orders": carry_all(node["order_bys"]["orders"])},
    }
    fields = ", ".join(
        f"'v{n}': {print_expression(term)}" for n, term in enumerate(carried.values())
    )
    distinct = "DISTINCT " if node["distinct"] else ""
    partial = parse_expression(f"list({distinct}{{{fields or _NO_FIELDS}}})")
    return Aggregate(
        partial={**partial, "filter": node["filter"]},
        gather=f"flatten(list({state}))",
        finish=f"(SELECT {print_expression(call)} FROM (SELECT unnest({gathered}) AS v) AS u)",
    )


def _partial(select: Node, resolver: Resolver, stages: _Stages) -> str:
    keys = [{**group, "alias": f"_g{n}"} for n, group in enumerate(stages.groups)]
    states = [
        {**aggregate.partial, "alias": f"_s{n}"}
        for n, aggregate in enumerate(stages.aggregates.values())
    ]
    return print_select(
        {
            **select,
            "modifiers": [],
            "select_list": keys + states,
            "where_clause": resolver.resolve(select["where_clause"]),
            "having": None,
            "qualify": None,
            "group_expressions": [],
            "group_sets": [],
            # GROUP BY ALL: by the keys, all of them, also where a key is a constant.
            "aggregate_handling": "FORCE_AGGREGATES" if keys else "STANDARD_HANDLING",
        }
    )


def _merge(stages: _Stages, group_sets: list[list[int]], kinds: Mapping[str, str]) -> str:
    keys = [f"_g{n}" for n in range(len(stages.groups))]
    aggregates = list(stages.aggregates.values())
    gathered = [
        f"{aggregate.gather.replace('{type}', kinds[f'_s{n}'])} AS _m{n}"
        for n, aggregate in enumerate(aggregates)
    ]
    groupings = [f"{call} AS {name}" for call, name in stages.groupings.items()]
    finished = [f"{aggregate.finish} AS _a{n}" for n, aggregate in enumerate(aggregates)]
    merged = f"SELECT {', '.join(keys + groupings + gathered)} FROM {STATES}"
    if keys or group_sets:
        sets = group_sets or [list(range(len(keys)))]  # GROUP BY ALL has none
        listed = ", ".join(f"({', '.join(keys[n] for n in numbers)})" for numbers in sets)
        merged += f" GROUP BY GROUPING SETS ({listed})"
    columns = ", ".join(keys + list(stages.groupings.values()) + finished)
    ordered = f" ORDER BY {', '.join(keys)}" if keys else ""
    return f"WITH merged AS ({merged}) SELECT {columns} FROM merged{ordered}"


def _modifier(modifier: Node, ordered: Callable[[Node], Node]) -> Node:
    """Rewrite the expressions of ORDER BY and DISTINCT ON; LIMIT has none over rows."""
    if modifier["type"] == "ORDER_MODIFIER":
        orders = [{**o, "expression": ordered(o["expression"])} for o in modifier["orders"]]
        return {**modifier, "orders": orders}
    if modifier["type"] == "DISTINCT_MODIFIER":
        targets = [ordered(target) for target in modifier["distinct_on_targets"]]
        return {**modifier, "distinct_on_targets": targets}
    return modifier
