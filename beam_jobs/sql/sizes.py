"""How large the values grow that an aggregate keeps for a group, and where that ends."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from beam_jobs.sql.relations import (
    STATES,
    different_sets,
    grouping_sets,
    main_keys,
    rows_of_sets,
)
from beam_jobs.sql.split import Split, sort_keys

# Bytes that one aggregate may keep for one group: its values have to fit in memory together.
STATE_LIMIT = 100_000_000

_WIDTH = 8
_WIDE = re.compile(r"HUGEINT|UUID|INTERVAL|DECIMAL")
_VARYING = re.compile(r"VARCHAR|BLOB|JSON|BIT|BIGNUM|STRUCT|MAP|UNION|\[")


@dataclass(frozen=True)
class Growth:
    """How to measure what an aggregate keeps for a group.

    Attributes:
        aggregate: As the user wrote it.
        relation: Number of the relation that holds it.
        combined: SQL over ``states`` for the bytes of the largest group once combined; empty for
            a value relation, whose rows stay small.
        final: SQL over ``states0``, ``states1`` … for the bytes of the largest group in the end.
    """

    aggregate: str
    relation: int
    combined: str
    final: str


def growths(split: Split, kinds: Sequence[Mapping[str, str]]) -> tuple[Growth, ...]:
    """Return how to measure each aggregate that keeps values.

    Args:
        split: The query.
        kinds: Types of each relation's columns as they are in Arrow; those of states name the
            types of their parts.
    """
    found = []
    for aggregate in split.aggregates.values():
        if aggregate.keeps_values:
            relation, columns = aggregate.keeps_values
            size = " + ".join(
                f"coalesce({_bytes(column, kinds[relation][column])}, 0)" for column in columns
            )
            text = split.query.spelling(aggregate.node)
            combined = _largest(size, STATES, _grouped(main_keys(split))) if not relation else ""
            found.append(Growth(text, relation, combined, _final(split, relation, size)))
    return tuple(found)


def _final(split: Split, relation: int, size: str) -> str:
    if relation:
        rows = f"({rows_of_sets(split, split.values[relation - 1])})"
        return _largest(size, rows, _grouped(sort_keys(split)))
    if split.sets and not split.early_sets:
        return _largest(size, f"{STATES}0", grouping_sets(different_sets(split)))
    return _largest(size, f"{STATES}0", _grouped(main_keys(split)))


def _largest(size: str, source: str, grouped: str) -> str:
    return f"SELECT max(bytes) FROM (SELECT sum({size}) AS bytes FROM {source} {grouped})"


def _grouped(keys: Sequence[str]) -> str:
    return f"GROUP BY {', '.join(keys)}" if keys else ""


def _bytes(column: str, kind: str) -> str:
    """Return SQL for about how many bytes a state or a value takes."""
    item = kind.removesuffix("[]")
    if _VARYING.search(item):
        return f"strlen(CAST({column} AS VARCHAR))"
    width = 2 * _WIDTH if _WIDE.search(item) else _WIDTH
    # A state stays one unless it is cast to another type than that of its values.
    return f"{width} * len(CAST({column} AS VARCHAR[]))" if item != kind else str(width)
