"""Read by each of Airflow's processes at its start, as it finds this folder on its path."""

import sys

if "scheduler" in sys.argv:
    # The tasks of a LocalExecutor are forks of the scheduler: what it has imported, which takes
    # seconds of a processor, they have. Nothing of this repository, or an edit would not count.
    import airflow.providers.apache.beam.operators.beam
    import airflow.providers.google.cloud.hooks.dataflow  # noqa: F401
