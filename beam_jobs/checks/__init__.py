"""The checks of a dataset: their conditions, and the audit of a run before it is published."""
