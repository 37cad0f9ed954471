"""Which of DuckDB's functions a query may call, and how each aggregate is split over blocks.

What stands here was tried on DuckDB 2.0.0 for every aggregate and type; docs/decisions/ has the
record. An aggregate that is not named here is refused, never guessed.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import duckdb

from beam_jobs.errors import QueryError
from beam_jobs.sql.syntax import Node, parse_expression, walk

# One more call of a function over the partial values of all blocks gives the value over all rows.
MERGED_BY: Mapping[str, str] = MappingProxyType(
    {
        "count": "sum",
        "count_star": "sum",
        "count_if": "sum",
        "countif": "sum",
        "regr_count": "sum",
        "sum": "sum",
        "min": "min",
        "max": "max",
        "bool_and": "bool_and",
        "bool_or": "bool_or",
        "bit_and": "bit_and",
        "bit_or": "bit_or",
        "bit_xor": "bit_xor",
    }
)

# DuckDB exports a state that merges into the value over all rows. `last` is not among them: its
# states merge into the wrong value. Nor are the ones above: the state of min(DATE) cannot be read
# back, and that of min(HUGEINT) ends the process.
EXPORTS_STATE = frozenset(
    """
    any_value approx_count_distinct approx_quantile arbitrary arg_max arg_max_null
    arg_max_nulls_last arg_min arg_min_null arg_min_nulls_last argmax argmin array_agg avg corr
    covar_pop covar_samp favg first fsum group_concat kahan_sum kurtosis kurtosis_pop list
    listagg mad max_by mean median min_by product quantile quantile_cont quantile_disc
    regr_avgx regr_avgy regr_intercept regr_r2 regr_slope regr_sxx regr_sxy regr_syy sem
    skewness stddev stddev_pop stddev_samp string_agg sumkahan var_pop var_samp variance
    """.split()
)

# Computed from the distinct values of a group and how often each occurs.
OVER_COUNTS = frozenset({"entropy", "histogram", "mode"})

# DISTINCT does not change their value, as only one of several equal values matters.
INDIFFERENT_TO_DISTINCT = frozenset(
    """
    any_value arbitrary arg_max arg_max_null arg_max_nulls_last arg_min arg_min_null
    arg_min_nulls_last argmax argmin bit_and bit_or bool_and bool_or first last max max_by min
    min_by
    """.split()
)

_LISTS = frozenset({"array_agg", "group_concat", "list", "listagg", "string_agg"})

# Their value depends on the order of the rows.
IN_ROW_ORDER = _LISTS | frozenset(
    """
    any_value arbitrary arg_max arg_max_null arg_max_nulls_last arg_min arg_min_null
    arg_min_nulls_last argmax argmin first last max_by min_by mode
    """.split()
)

# Their states hold the values of a group. So do those of every aggregate with ORDER BY.
KEEPS_VALUES = _LISTS | frozenset(
    {"histogram", "mad", "median", "quantile", "quantile_cont", "quantile_disc"}
)

# What to write in place of an aggregate that has no mergeable state.
ALTERNATIVES: Mapping[str, str] = MappingProxyType(
    {
        "approx_top_k": "GROUP BY the value, ORDER BY count(*) DESC and LIMIT k is exact",
        "histogram_exact": "histogram(x), or GROUP BY the value and count(*)",
        "reservoir_quantile": "approx_quantile, or the exact quantile_cont",
    }
)

APPROXIMATE: Mapping[str, str] = MappingProxyType(
    {
        "approx_count_distinct": "typically within 5 % of count(DISTINCT …)",
        "approx_quantile": "a t-digest: typically within 1 % of the rank asked for",
    }
)


@dataclass(frozen=True)
class Macro:
    """A macro of DuckDB's: the names of its parameters, and the expression it stands for."""

    parameters: frozenset[str]
    body: str


@dataclass(frozen=True)
class Catalog:
    """DuckDB's functions by what matters here; names are in lower case.

    Attributes:
        aggregates: Names of aggregate functions.
        changing: Names of functions whose value is not the same for every block of a run.
        macros: The macros by name.
    """

    aggregates: frozenset[str]
    changing: frozenset[str]
    macros: Mapping[str, Macro]

    def macro_problem(self, name: str) -> str | None:
        """Return why a macro cannot be used in a query, None when it can."""
        macro = self.macros[name]
        try:
            body = parse_expression(macro.body)
        except QueryError:
            return None  # A table macro, which no expression can call.
        for node in walk(body):
            called = str(node.get("function_name", "")).lower()
            if called in self.aggregates:
                return f"{name} stands for {macro.body}; write that instead"
            free = (
                node.get("class") == "COLUMN_REF"
                and node["column_names"][0] not in macro.parameters
            )
            if called in self.changing or free:  # a free name is current_timestamp or its like
                return f"{name} gives another value for every block; write the value itself"
        return None


@functools.cache
def catalog() -> Catalog:
    """Ask DuckDB for its functions, once per process."""
    rows = duckdb.connect(":memory:").execute(
        "SELECT lower(function_name), function_type, stability, macro_definition, parameters "
        "FROM duckdb_functions()"
    )
    found = rows.fetchall()
    return Catalog(
        aggregates=frozenset(name for name, kind, *_ in found if kind == "aggregate"),
        changing=frozenset(
            name
            for name, _, stability, *_ in found
            if stability in ("VOLATILE", "CONSISTENT_WITHIN_QUERY") and name != "error"
        ),
        macros={
            name: Macro(frozenset(parameters), body)
            for name, kind, _, body, parameters in found
            if kind == "macro"
        },
    )


def is_aggregate(node: Node) -> bool:
    """Whether a node is the call of an aggregate function (not of a window function)."""
    return node.get("class") == "FUNCTION" and node["function_name"].lower() in catalog().aggregates


def depends_on_order(node: Node) -> bool:
    """Whether an aggregate's value depends on the order of the rows, if only among equals."""
    return node["function_name"].lower() in IN_ROW_ORDER or bool(node["order_bys"]["orders"])
