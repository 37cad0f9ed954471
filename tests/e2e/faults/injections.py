"""The faults, done to one run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from local_cloud.loopback import call
from tests.e2e.faults.play import Play

# A call that is answered too late: the clients give up after 60.
TOO_LATE_SECONDS = 65
# One whose effect comes when the next try has already looked.
_LATE_SECONDS = 25


def kill_before_submission(play: Play) -> None:
    """SIGKILL before the pipeline submits its job."""
    play.until_launcher()
    play.kill()
    play.stand.sign(play.name, "submit")


def kill_before_id_is_stored(play: Play) -> None:
    """SIGKILL when the job is there, before the task has heard of it."""
    play.until_launcher()
    process = play.freeze()
    play.stand.sign(play.name, "submit")
    play.until_job()
    play.kill(process)


def kill_during_creation(play: Play) -> None:
    """SIGKILL while the job is being created."""
    play.until_launcher()
    region = play.settings.region
    name = "dataflow.projects.locations.jobs.create"
    # The call goes on at Dataflow when there is nobody left to hear its answer.
    play.stand.fault(name, matching=region, delay=_LATE_SECONDS)
    play.stand.sign(play.name, "submit")
    play.wait(lambda: not play.stand.is_to_come(region), "a call for a job")
    play.kill()
    play.wait(lambda: play.since() > _LATE_SECONDS, "the end of the call")


def kill_while_polling(play: Play) -> None:
    """SIGKILL while the task waits."""
    play.until_it_waits()
    play.kill()


def kill_after_job(play: Play) -> None:
    """SIGKILL when the job is done, before the task has seen it."""
    play.until_it_waits()
    process = play.freeze()
    play.go_on()
    play.until_done()
    play.kill(process)


def kill_resumed(play: Play) -> None:
    """SIGKILL of the task that goes on after its trigger has fired."""
    play.until_it_waits()
    play.go_on()
    # It ends within a second or two.
    play.wait(lambda: play.task()["state"] in {"running", "success"}, "a task", 0.02)
    play.kill()


def kill_with_supervisor(play: Play) -> None:
    """SIGKILL of the task and of what watches it."""
    play.until_it_waits()
    play.kill(supervisor=True)


def kill_supervisor(play: Play) -> None:
    """SIGKILL of what watches the task."""
    play.until_it_waits()
    play.kill_supervisor()


def fail(play: Play) -> None:
    """The job fails; the next one does not."""
    play.until_it_waits()
    play.begins()
    play.stand.sign(play.name, "work")
    play.until_done()
    play.stand.sign(play.name, "sane")


def cancel_outside(play: Play) -> None:
    """Somebody else cancels the job."""
    play.until_it_waits()
    play.cancel_outside()


def lose_job(play: Play) -> None:
    """The job vanishes."""
    play.until_it_waits()
    play.begins()
    call("POST", f"{play.stand.cloud.dataflow_url}/_local_cloud/jobs/{play.active_job()}:lose")


def kill_worker(play: Play) -> None:
    """A worker of the job is killed."""
    play.until_it_waits()
    play.wait(lambda: "RUNNING" in play.seen().jobs, "a worker")
    play.begins()
    url = f"{play.stand.cloud.dataflow_url}/_local_cloud/jobs/{play.active_job()}:kill_worker"
    play.wait(lambda: call("POST", url) is None, "a worker")


def mark(state: str) -> Callable[[Play], None]:
    """A user marks the task."""

    def inject(play: Play) -> None:
        play.until_it_waits()
        play.mark(state)

    return inject


def mark_before_submission(play: Play) -> None:
    """A user marks the task failed before the job is submitted."""
    play.until_launcher()
    play.mark("failed")
    play.wait(lambda: not play.stand.launchers(play.name), "no launcher")


def clear(play: Play) -> None:
    """A user clears the task."""
    play.until_it_waits()
    play.clear()


def run_out_of_time(play: Play) -> None:
    """The task's time is up."""
    play.until_it_waits()
    play.begins()
    play.wait(lambda: play.task()["state"] not in {"running", "deferred"}, "the end of the time")


def fail_calls(method: str, **how: Any) -> Callable[[Play], None]:
    """The next calls about the run's job fail."""

    def inject(play: Play) -> None:
        play.until_it_waits()
        play.fault(method, **how)

    return inject


def _own(play: Play, of: str) -> str:
    """What only the run's own calls of a service have, as far as they have anything."""
    # The region is in the path of REST, and in the names of gRPC.
    return {"dataflow": play.settings.region, "storage": play.name}.get(of, "")


def fail_launch(of: str, method: str, **how: Any) -> Callable[[Play], None]:
    """The next calls fail; to be done before the run starts.

    Args:
        of: The service.
        method: Its method.
        how: The fault.
    """

    def fail(play: Play) -> None:
        play.stand.fault(method, of=of, matching=_own(play, of), **how)

    return fail


def meet_launch(of: str, method: str) -> Callable[[Play], None]:
    """Waits until the launch has met such a fault; the provider's makes fewer calls than ours."""

    def meet(play: Play) -> None:
        play.until_it_waits()
        if play.who == "ours":
            what = _own(play, of) or method
            play.wait(lambda: not play.stand.is_to_come(what, of=of), "calls that fail")

    return meet
