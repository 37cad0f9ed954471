"""What ends a job, in the words that its user reads."""

from __future__ import annotations


class JobError(Exception):
    """The job cannot go on; the message says why."""
