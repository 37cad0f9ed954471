"""The SQL of a split query: what each relation holds for a block, how it is combined, the end.

Over the combined rows of all relations the groups are put together in three steps:

    1. GROUPING SETS, if any: the rows of each relation are combined once more, for every set.
    2. The rows of the value relations join those of the main one: a UNION with one row per value,
       grouped by the keys. So a group's values are aggregated by one plain GROUP BY.
    3. The query itself, with a column in place of each group and each aggregate.
"""

from __future__ import annotations

from collections.abc import Mapping

from beam_jobs.sql.aggregates import RELATION, ValueRelation
from beam_jobs.sql.row_order import in_order, needs_order
from beam_jobs.sql.split import SET, Split, sort_keys
from beam_jobs.sql.syntax import Node, parse_expression, print_select

STATES = "states"
ROWS = "_rows"
_ROW = "_row"
# A session variable: which block of the input it is.
POSITION = "tallyflow_position"
_ROWS_OF_A_BLOCK = 1 << 40


def partial_queries(split: Split) -> list[str]:
    """Return the SQL from ``input`` to the rows of each relation."""
    return [_main_partial(split), *(_values_partial(split, values) for values in split.values)]


def combine_queries(split: Split, kinds: Mapping[str, str]) -> list[str]:
    """Return the SQL from ``states`` to one row per key, for each relation.

    Args:
        split: The query.
        kinds: Types of the columns of the main relation.
    """
    combined = [_main_combine(split, kinds, STATES, "")]
    combined += [_values_combine(split, values, STATES, None) for values in split.values]
    return combined


def aggregated_query(split: Split, kinds: Mapping[str, str]) -> str:
    """Return the SQL from ``states0``, ``states1`` … to one row per group of the result."""
    identifiers = split.keys + ([SET, *split.groupings.values()] if split.sets else [])
    main = _with_values(split, identifiers, kinds)
    gathered = [f"_m{n}" for n in range(len(split.aggregates))]
    if split.values:
        rows = [f"SELECT 0 AS {RELATION}, * FROM ({main})"]
        rows += [
            f"SELECT {values.number} AS {RELATION}, * FROM ({rows_of_sets(split, values)})"
            for values in split.values
        ]
        columns = identifiers + [
            f"{aggregate.gather or f'any_value({name})'} AS {name}"
            for name, aggregate in zip(gathered, split.aggregates.values(), strict=True)
        ]
        main = f"SELECT {_listed(columns)} FROM ({' UNION ALL BY NAME '.join(rows)})"
        if identifiers:
            main += f" GROUP BY {', '.join(identifiers)}"
    if not split.sets:
        identifiers = split.keys + [f"0::BIGINT AS {name}" for name in split.groupings.values()]
    finished = [
        f"{aggregate.finish} AS _a{n}" for n, aggregate in enumerate(split.aggregates.values())
    ]
    return f"SELECT {_listed(identifiers + finished)} FROM ({main}){_repeated(split)}"


def _listed(columns: list[str]) -> str:
    return ", ".join(columns or ["1 AS _nothing"])


def _keys(split: Split) -> list[Node]:
    return [{**group, "alias": name} for group, name in zip(split.groups, split.keys, strict=True)]


def _select(split: Split, columns: list[Node], where: Node | None, keys: int) -> str:
    """Print a SELECT of expressions over the query's FROM, grouped by the first so many of them.

    The groups are named by their positions: GROUP BY ALL would leave out constants.
    """
    positions = [parse_expression(str(n + 1)) for n in range(keys)]
    source = split.query.select["from_table"]
    if needs_order(split.query):
        columns, source = in_order(split.query, columns, where)
        where = None
    return print_select(
        {
            **split.query.select,
            "modifiers": [],
            "select_list": columns,
            "from_table": source,
            "where_clause": where,
            "having": None,
            "qualify": None,
            "group_expressions": positions,
            "group_sets": [list(range(keys))] if keys else [],
            "aggregate_handling": "STANDARD_HANDLING",
        }
    )


def main_keys(split: Split) -> list[str]:
    """Return the columns that the main rows are combined by."""
    return split.keys + ([SET, *split.groupings.values()] if split.early_sets else [])


def _main_partial(split: Split) -> str:
    states = [
        {**aggregate.state.partial, "alias": f"_s{n}"}
        for n, aggregate in enumerate(split.aggregates.values())
        if aggregate.state
    ]
    if not split.groups and not states:
        states = [{**parse_expression("count(*)"), "alias": ROWS}]
    if not split.early_sets:
        return _select(split, _keys(split) + states, split.where, len(split.groups))
    # Not by GROUPING SETS: of these DuckDB computes one from another, out of the rows' order.
    return " UNION ALL ".join(_of_one_set(split, keys, states) for keys in different_sets(split))


def _of_one_set(split: Split, keys: list[str], states: list[Node]) -> str:
    """Return the SQL for the main rows of one grouping set: its keys, NULL for the others."""
    absent = parse_expression("NULL")
    grouped = [key for key in _keys(split) if key["alias"] in keys]
    others = [{**absent, "alias": name} for name in split.keys if name not in keys]
    constants = []
    for call in _set_columns(split):
        text, _, name = call.rpartition(" AS ")
        names = [child["column_names"][0] for child in parse_expression(text)["children"]]
        bits = "".join("0" if column in keys else "1" for column in names)
        constants.append({**parse_expression(f"{int(bits, 2)}::BIGINT"), "alias": name})
    rows = _select(split, [*grouped, *others, *constants, *states], split.where, len(grouped))
    columns = [*main_keys(split), *(state["alias"] for state in states)]
    return f"SELECT {', '.join(columns)} FROM ({rows})"


def _main_combine(split: Split, kinds: Mapping[str, str], source: str, sets: str) -> str:
    """Return the SQL that combines main rows by their keys, or by grouping sets of them."""
    columns = main_keys(split)
    if sets:
        columns += _set_columns(split)
    columns += [
        f"{aggregate.state.combine.replace('{type}', kinds[f'_s{n}'])} AS _s{n}"
        for n, aggregate in enumerate(split.aggregates.values())
        if aggregate.state
    ]
    if ROWS in kinds:
        columns.append(f"sum({ROWS})::BIGINT AS {ROWS}")
    by_keys = f"GROUP BY {', '.join(main_keys(split))}" if split.keys else ""
    return f"SELECT {', '.join(columns)} FROM {source} {sets or by_keys}".rstrip()


def _values_partial(split: Split, values: ValueRelation) -> str:
    named = [
        {**value, "alias": name} for value, name in zip(values.values, values.columns, strict=True)
    ]
    where = _both(split.where, values.condition)
    columns = _keys(split) + named
    if not values.counted:
        return _select(split, columns, where, len(columns))
    if not values.positioned:
        counted = {**parse_expression("count(*)"), "alias": values.count}
        return _select(split, [*columns, counted], where, len(columns))
    row = parse_expression("row_number() OVER ()")
    rows = _select(split, [*columns, {**row, "alias": _ROW}], where, 0)
    first = f"CAST(getvariable('{POSITION}') AS HUGEINT) * {_ROWS_OF_A_BLOCK} + min({_ROW})"
    names = ", ".join([*split.keys, *values.columns])
    return (
        f"SELECT {names}, count(*) AS {values.count}, {first} AS {values.position} "
        f"FROM ({rows}) GROUP BY {names}"
    )


def _both(left: Node | None, right: Node | None) -> Node | None:
    if left is None or right is None:
        return left or right
    return {**parse_expression("1 AND 2"), "children": [left, right]}


def _values_combine(
    split: Split, values: ValueRelation, source: str, sets: list[list[str]] | None
) -> str:
    """Return the SQL that combines the rows of equal values of a group, or of grouping sets."""
    columns = [*split.keys, *values.columns]
    grouped = f"GROUP BY {', '.join(columns)}"
    if sets is not None:
        columns = [*split.keys, *_set_columns(split), *values.columns]
        grouped = grouping_sets([[*keys, *values.columns] for keys in sets])
    if values.counted:
        columns.append(f"sum({values.count})::BIGINT AS {values.count}")
    if values.positioned:
        columns.append(f"min({values.position}) AS {values.position}")
    return f"SELECT {', '.join(columns)} FROM {source} {grouped}"


def different_sets(split: Split) -> list[list[str]]:
    """Return the keys of each grouping set, every set once."""
    found = {
        tuple(key for n, key in enumerate(split.keys) if n in numbers)
        for numbers in split.sets or [list(range(len(split.keys)))]
    }
    return [list(keys) for keys in sorted(found, reverse=True)]


def grouping_sets(sets: list[list[str]]) -> str:
    """Return the clause that groups by each of several lists of keys."""
    listed = ", ".join(f"({', '.join(keys)})" for keys in sets)
    return f"GROUP BY GROUPING SETS ({listed})"


def _set_columns(split: Split) -> list[str]:
    number = f"GROUPING({', '.join(split.keys)})" if split.keys else "0"
    calls = [f"{call} AS {name}" for call, name in split.groupings.items()]
    return [f"{number} AS {SET}", *calls]


def _with_values(split: Split, identifiers: list[str], kinds: Mapping[str, str]) -> str:
    """Return the main rows of every grouping set, with the aggregates that have a state."""
    source = f"{STATES}0"
    if split.sets and not split.early_sets:
        grouped = grouping_sets(different_sets(split))
        source = f"({_main_combine(split, kinds, source, grouped)})"
    values = [
        f"{aggregate.state.value} AS _m{n}"
        for n, aggregate in enumerate(split.aggregates.values())
        if aggregate.state
    ]
    return f"SELECT {_listed(identifiers + values)} FROM {source}"


def rows_of_sets(split: Split, values: ValueRelation) -> str:
    """Return the rows of a value relation for every grouping set."""
    rows = f"FROM {STATES}{values.number}"
    if split.sets:
        rows = _values_combine(split, values, f"{STATES}{values.number}", different_sets(split))
    if values.totalled:
        group = ", ".join(sort_keys(split))
        over = f"OVER (PARTITION BY {group})" if group else "OVER ()"
        present = f"FILTER ({values.columns[0]} IS NOT NULL)"
        rows = f"SELECT *, sum({values.count}) {present} {over} AS {values.total} FROM ({rows})"
    return rows


def _repeated(split: Split) -> str:
    """Return a join that gives the groups of a set as often as the query names the set."""
    if not split.sets or len(different_sets(split)) == len(split.sets):
        return ""
    last = len(split.keys) - 1
    masks = [
        sum(1 << (last - n) for n in range(len(split.keys)) if n not in numbers)
        for numbers in split.sets
    ]
    return (
        f" JOIN (VALUES {', '.join(f'({mask})' for mask in masks)}) AS _sets({SET}) USING ({SET})"
    )
