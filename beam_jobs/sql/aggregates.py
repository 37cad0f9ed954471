"""How each aggregate call is computed over blocks: from a state of its own, or from its values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from beam_jobs.sql import functions
from beam_jobs.sql.syntax import (
    Node,
    column,
    fingerprint,
    parse_expression,
    print_expression,
    rewrite,
    walk,
)

# Which relation a row of the final union comes from; the main one is 0.
RELATION = "_r"
_NO_FIELDS = "'v': NULL"
NO_ORDER: Node = {"type": "ORDER_MODIFIER", "orders": []}


@dataclass(frozen=True)
class StateColumn:
    """An aggregate's state: one column of the main relation.

    Attributes:
        partial: The node that computes it over one block.
        combine: SQL over the column, one state of the same type per group; ``{type}`` is its type.
        value: SQL over one state, which gives what is gathered for a group.
    """

    partial: Node
    combine: str
    value: str


@dataclass(frozen=True)
class Aggregate:
    """One aggregate call, split.

    Attributes:
        node: As the user wrote it.
        state: Its column of the main relation; None where it is computed from a value relation.
        gather: SQL over the rows of the value relations, one value per group; empty with a state.
        finish: SQL over what was gathered, which gives the aggregate's value.
        keeps_values: The columns whose size grows with the rows of a group, by relation.
    """

    node: Node
    state: StateColumn | None
    gather: str
    finish: str
    keeps_values: tuple[int, tuple[str, ...]] | None = None


@dataclass
class ValueRelation:
    """The distinct values of one set of arguments, FILTER included, within each group.

    Attributes:
        number: Of the relation, from 1.
        values: The arguments.
        condition: FILTER.
        counted: How often each occurs is kept too.
        positioned: Where each occurs first is kept too.
        totalled: The final query needs the sum of the counts of a group.
    """

    number: int
    values: list[Node]
    condition: Node | None
    counted: bool = False
    positioned: bool = False
    totalled: bool = False

    @property
    def columns(self) -> list[str]:
        """Names of the columns of its values."""
        return [f"_v{self.number}_{n}" for n in range(len(self.values))]

    @property
    def count(self) -> str:
        """Name of the column of counts."""
        return f"_n{self.number}"

    @property
    def position(self) -> str:
        """Name of the column of first positions."""
        return f"_p{self.number}"

    @property
    def total(self) -> str:
        """Name of the column of a group's sum of counts."""
        return f"_t{self.number}"


@dataclass
class Splitter:
    """Splits aggregate calls; those over the same distinct values share a value relation.

    Attributes:
        relations: The value relations, by their arguments and filter.
    """

    relations: dict[str, ValueRelation] = field(default_factory=dict)

    def split(self, node: Node, number: int) -> Aggregate:
        """Choose how an aggregate is computed; `number` is that of its columns."""
        name = node["function_name"].lower()
        call = node
        if name in functions.INDIFFERENT_TO_DISTINCT:
            call = {**node, "distinct": False}
        ordered = bool(call["order_bys"]["orders"])
        if call["distinct"]:
            return self._over_distinct(call, number)
        if name in functions.OVER_COUNTS and not (name == "mode" and ordered):
            return self._over_counts(name, call, number)
        if name in functions.MERGED_BY:
            state = StateColumn(
                partial={**call, "order_bys": NO_ORDER},
                combine=f"CAST({functions.MERGED_BY[name]}(_s{number}) AS {{type}})",
                value=f"_s{number}",
            )
            return Aggregate(node, state, "", f"_m{number}")
        if ordered:
            return _over_all_values(call, number)
        return self._over_states(name, call, number)

    def _over_states(self, name: str, node: Node, number: int) -> Aggregate:
        column_name, value = f"_s{number}", f"_m{number}"
        if name == "last":
            # Wrapped, so that a block without rows (NULL) differs from one whose last is NULL.
            wrapped = f"last({{'v': {print_expression(node['arguments'][0]['expression'])}}})"
            partial = {**node, "arguments": parse_expression(wrapped)["arguments"]}
            combine = f"last({column_name}) FILTER ({column_name} IS NOT NULL)"
            return Aggregate(node, StateColumn(partial, combine, column_name), "", f"{value}.v")
        state = StateColumn(
            partial={**node, "export_state": True},
            combine=f"combine_aggr({column_name})",
            value=f"finalize({column_name})",
        )
        keeps = (0, (column_name,)) if name in functions.KEEPS_VALUES else None
        return Aggregate(node, state, "", value, keeps)

    def _relation(self, values: dict[str, Node], condition: Node | None) -> ValueRelation:
        key = "\n".join([*values, fingerprint(condition or {})])
        number = len(self.relations) + 1
        return self.relations.setdefault(
            key, ValueRelation(number, list(values.values()), condition)
        )

    def _over_distinct(self, node: Node, number: int) -> Aggregate:
        """Call the function over distinct values, NULL included, which many relations hold."""
        arguments = [argument["expression"] for argument in node["arguments"]]
        values = {fingerprint(value): value for value in arguments if _varies(value)}
        relation = self._relation(values or {"1": parse_expression("1")}, node["filter"])
        columns = dict(zip(values, relation.columns, strict=False))

        def replace(part: Node) -> Node | None:
            if part["class"] == "LAMBDA":
                return part  # Its parameters may be named like an argument; DuckDB complains.
            found = columns.get(fingerprint(part))
            return column(found) if found else None

        orders = node["order_bys"]["orders"]
        name = node["function_name"].lower()
        if name in functions.IN_ROW_ORDER and not orders:
            # In no order at all they would differ from run to run.
            order_bys = _ascending(relation.columns)
        else:
            order_bys = {**node["order_bys"], "orders": rewrite(orders, replace)}
        call = {
            **node,
            "distinct": False,
            "filter": parse_expression(f"{RELATION} = {relation.number}"),
            "arguments": rewrite(node["arguments"], replace),
            "order_bys": order_bys,
        }
        keeps = name in functions.KEEPS_VALUES or bool(order_bys["orders"])
        growing = (relation.number, tuple(relation.columns)) if keeps else None
        return Aggregate(node, None, print_expression(call), f"_m{number}", growing)

    def _over_counts(self, name: str, node: Node, number: int) -> Aggregate:
        argument = node["arguments"][0]["expression"]
        relation = self._relation({fingerprint(argument): argument}, node["filter"])
        relation.counted = True
        (value,), n = relation.columns, relation.count
        counted = f"FILTER ({RELATION} = {relation.number} AND {value} IS NOT NULL)"
        keeps = None
        match name:
            case "mode":
                relation.positioned = True
                # The most frequent one, and among equals the one that came first.
                gather = f"arg_min({value}, {{'n': -{n}, 'p': {relation.position}}}) {counted}"
            case "histogram":
                keys = f"list({value} ORDER BY {value}) {counted}"
                counts = f"list({n}::UBIGINT ORDER BY {value}) {counted}"
                gather = f"CASE WHEN count({value}) > 0 THEN map({keys}, {counts}) END"
                keeps = (relation.number, (value,))
            case _:
                relation.totalled = True
                term = f"{n} / {relation.total} * log2({relation.total} / {n})"
                gather = f"coalesce(sum({term}) {counted}, 0)"
        return Aggregate(node, None, gather, f"_m{number}", keeps)


def _varies(expression: Node) -> bool:
    """Whether an argument is no constant: a separator or a fraction has to stay one."""
    return any(part.get("class") == "COLUMN_REF" for part in walk(expression))


def _ascending(columns: Sequence[str]) -> Node:
    terms = ", ".join(columns)
    node: Node = parse_expression(f"list(1 ORDER BY {terms})")["order_bys"]
    return node


def _over_all_values(node: Node, number: int) -> Aggregate:
    """Plan an aggregate with ORDER BY: its state is the list of all values.

    The state that DuckDB exports for it comes out in the order of the blocks.
    """
    carried: dict[str, Node] = {}

    def carry(expression: Node) -> Node:
        if not _varies(expression):
            return expression
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
    state = StateColumn(
        partial={**parse_expression(f"list({{{fields or _NO_FIELDS}}})"), "filter": node["filter"]},
        combine=f"flatten(list(_s{number}))",
        value=f"_s{number}",
    )
    unnested = f"(SELECT unnest(_m{number}) AS v) AS u"
    finish = f"(SELECT {print_expression(call)} FROM {unnested})"
    return Aggregate(node, state, "", finish, (0, (f"_s{number}",)))
