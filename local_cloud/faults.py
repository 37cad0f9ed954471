"""Faults on demand: the next calls of a method fail, wait, or lose their connection."""

from __future__ import annotations

import fnmatch
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from local_cloud.errors import ServiceError


class Fault(BaseModel):
    """What is to happen to the next calls of some methods.

    Attributes:
        method: Pattern of the methods' ids, such as ``storage.objects.*``.
        matching: Regular expression that the call's path and query must contain; over gRPC, the
            names in the request. The default is found in each.
        times: How many calls; None for all until the fault is removed.
        after: How many calls pass unharmed before.
        delay: Seconds that a call waits, before it fails or is answered.
        status: HTTP status to answer with; the gRPC code is the one that belongs to it.
            403 is what a missing permission looks like.
        message: The error's text.
        reason: The word for the error in the JSON APIs, such as ``quotaExceeded``.
        drop: Whether the connection ends without an answer. ``request``: before the call has had
            its effect; ``response``: when it has.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: str
    matching: str = ""
    times: Annotated[int, Field(ge=1)] | None = 1
    after: Annotated[int, Field(ge=0)] = 0
    delay: Annotated[float, Field(ge=0)] = 0
    status: Annotated[int, Field(ge=400, le=599)] | None = None
    message: str = "The local cloud was told to fail this call."
    reason: str | None = None
    drop: Literal["request", "response"] | None = None

    @model_validator(mode="after")
    def _does_something(self) -> Fault:
        if self.status and self.drop:
            raise ValueError("a call either fails with `status` or is dropped, not both")
        if not (self.status or self.drop or self.delay):
            raise ValueError("say what happens: `status`, `drop` or `delay`")
        re.compile(self.matching)
        return self


class Dropped(Exception):  # noqa: N818 - not an error: how a call ends
    """The connection of a call is to end without an answer."""


class Faults:
    """The faults of one service; safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[tuple[Fault, int]] = []  # with the number of calls it has met

    def add(self, fault: Fault) -> None:
        """Adds a fault; where several match a call, the one added first holds."""
        with self._lock:
            self._faults.append((fault, 0))

    def clear(self) -> None:
        """Removes all faults."""
        with self._lock:
            self._faults.clear()

    def pending(self) -> list[Fault]:
        """The faults that are still to come, oldest first."""
        with self._lock:
            return [fault for fault, _ in self._faults]

    def take(self, method: str, call: str) -> Fault | None:
        """The fault that this call meets, if any.

        Args:
            method: Id of the method that is called.
            call: What `Fault.matching` is looked for in.
        """
        with self._lock:
            for index, (fault, met) in enumerate(self._faults):
                if fnmatch.fnmatchcase(method, fault.method) and re.search(fault.matching, call):
                    if fault.times is not None and met + 1 >= fault.after + fault.times:
                        del self._faults[index]
                    else:
                        self._faults[index] = (fault, met + 1)
                    return fault if met >= fault.after else None
        return None

    @contextmanager
    def around(self, method: str, call: str) -> Iterator[None]:
        """Does to a call, run inside in a thread of its own, what its fault says.

        Raises:
            ServiceError: The fault has a status.
            Dropped: The fault drops the connection.
        """
        fault = self.take(method, call)
        if fault is None:
            yield
            return
        time.sleep(fault.delay)
        refuse(fault)
        yield
        if fault.drop == "response":
            raise Dropped


def refuse(fault: Fault) -> None:
    """Raises what ends a call before it has had its effect; a delay alone ends none.

    Raises:
        ServiceError: The fault has a status.
        Dropped: The fault drops the request.
    """
    if fault.status:
        raise ServiceError(fault.status, fault.message, reason=fault.reason)
    if fault.drop == "request":
        raise Dropped
