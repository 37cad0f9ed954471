"""Splits one aggregate query into partial states, their merge, and the final result."""

from beam_jobs.sql.plan import Plan, plan_query
from beam_jobs.sql.shape import parse_query

__all__ = ["Plan", "parse_query", "plan_query"]
