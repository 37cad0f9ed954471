"""The process of a pipeline, as a task sees it: what it says goes to the log, its failure fails."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from airflow.sdk.exceptions import AirflowFailException

from tallyflow.job_failure import LauncherError
from tallyflow.launcher import Launcher

if TYPE_CHECKING:
    from airflow.sdk.types import Logger

# A wrong call, by the convention of argparse and of `beam_jobs.errors`.
_USAGE_STATUS = 2


class PipelineProcess:
    """A pipeline that runs, or submits its job. `kill` may interrupt the other methods.

    Args:
        command: What to run.
        log: The task's.
    """

    def __init__(self, command: Sequence[str], log: Logger) -> None:
        log.info("Running %s", shlex.join(command))
        self._log = log
        self._launcher = Launcher(command)

    @property
    def said_last(self) -> str:
        """The last lines of its standard error."""
        return self._launcher.said_last

    def lines(self) -> Iterator[str]:
        """Yields what it says, as long as it runs."""
        return self._logged(None)

    def listen(self, seconds: float) -> None:
        """Takes down what it says, until it has ended or the time is up."""
        for _ in self._logged(seconds):
            pass

    def wait(self, seconds: float) -> None:
        """Waits so long, and takes down what it says meanwhile."""
        until = time.monotonic() + seconds
        self.listen(seconds)
        time.sleep(max(0.0, until - time.monotonic()))

    def wait_until_over(self) -> None:
        """Waits for its end.

        Raises:
            LauncherError: It failed.
            AirflowFailException: It says that it was called wrongly.
        """
        for _ in self._logged(None):
            pass
        self._launcher.wait()
        self.check()

    def check(self) -> None:
        """Raises as `wait_until_over` does if it has ended by now, and failed."""
        status = self._launcher.status
        if not status:
            return
        text = f"The pipeline's process ended with status {status}:\n{self.said_last}"
        raise AirflowFailException(text) if status == _USAGE_STATUS else LauncherError(text)

    def kill(self) -> None:
        """Ends it, and all that it started."""
        self._launcher.kill()

    def _logged(self, seconds: float | None) -> Iterator[str]:
        for line in self._launcher.lines(seconds):
            self._log.info("%s", line)
            yield line
