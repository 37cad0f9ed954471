"""Splits one aggregate query into relations of mergeable states, and the final result."""

from beam_jobs.sql.plan import Plan, Relation, plan_query
from beam_jobs.sql.shape import parse_query

__all__ = ["Plan", "Relation", "parse_query", "plan_query"]
