"""What the launcher of a flex template starts: the job that its image is for."""

from __future__ import annotations

import os
import runpy

if __name__ == "__main__":
    runpy.run_module(
        f"beam_jobs.{os.environ['TALLYFLOW_JOB']}", run_name="__main__", alter_sys=True
    )
