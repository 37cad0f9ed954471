"""The steps of a pipeline as its user named them, and which stage of the run belongs to which."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.worker import bundle_processor

from local_cloud.dataflow.events import Step, StepState

_CHANNELS = (bundle_processor.DATA_INPUT_URN, bundle_processor.DATA_OUTPUT_URN)


@dataclass(frozen=True)
class Steps:
    """The transforms of a pipeline that have no parts, in the order of the pipeline.

    Attributes:
        transforms: All transforms, by their ids.
        ids: The ids of the steps.
    """

    transforms: Mapping[str, beam_runner_api_pb2.PTransform]
    ids: tuple[str, ...]

    @cached_property
    def _by_name(self) -> Mapping[str, str]:
        return {one.unique_name: key for key, one in self.transforms.items()}

    @cached_property
    def _producers(self) -> Mapping[str, str]:
        """Which step puts out a collection."""
        return {name: key for key in self.ids for name in self.transforms[key].outputs.values()}

    def owner(self, name: str) -> str:
        """The id of the transform that one of this name is, or was made from by the runner."""
        while name and name not in self._by_name:
            name = name.rpartition("/")[0]
        return self._by_name.get(name, "")

    def user_name(self, step: str) -> str:
        """The user's name of a step."""
        return str(self.transforms[step].unique_name)

    def of_stage(self, transforms: Iterable[beam_runner_api_pb2.PTransform]) -> list[str]:
        """The ids of the steps that a stage's transforms belong to, in the pipeline's order."""
        owners = {
            self.owner(one.unique_name) for one in transforms if one.spec.urn not in _CHANNELS
        }
        steps = {step for owner in owners - {""} for step in self._below(owner)}
        return [key for key in self.ids if key in steps]

    def events(self, states: Mapping[str, StepState], elements: Mapping[str, int]) -> list[Step]:
        """What the service is told of the steps.

        Args:
            states: Of the steps that a stage runs; one of the runner's own, such as a grouping,
                is as far as the step before it.
            elements: How many elements each collection has.
        """
        return [
            Step(
                name=key,
                user_name=self.user_name(key),
                state=self._state(key, states),
                elements=self.elements(key, elements),
            )
            for key in self.ids
        ]

    def elements(self, step: str, elements: Mapping[str, int]) -> int:
        """How many elements a step has put out, given how many each collection has."""
        outputs = set(self.transforms[step].outputs.values())
        return sum(elements.get(name, 0) for name in outputs)

    def _state(self, step: str, states: Mapping[str, StepState]) -> StepState:
        while step not in states:
            transform = self.transforms[step]
            before = [self._producers.get(name) for name in transform.inputs.values()]
            if not any(before):
                # An impulse: it is done as soon as something works on what it gave.
                outputs = set(transform.outputs.values())
                followers = (self._is_begun(key, outputs, states) for key in states)
                return "DONE" if any(followers) else "PENDING"
            step = next(key for key in before if key)
        return states[step]

    def _is_begun(self, step: str, inputs: set[str], states: Mapping[str, StepState]) -> bool:
        takes = inputs & set(self.transforms[step].inputs.values())
        return bool(takes) and states[step] != "PENDING"

    def _below(self, key: str) -> list[str]:
        parts = self.transforms[key].subtransforms
        return [step for part in parts for step in self._below(part)] if parts else [key]


def list_steps(pipeline: beam_runner_api_pb2.Pipeline) -> Steps:
    """The steps of a pipeline."""
    transforms = dict(pipeline.components.transforms)
    ids: list[str] = []
    pending = list(reversed(pipeline.root_transform_ids))
    while pending:
        key = pending.pop()
        parts = transforms[key].subtransforms
        pending += reversed(parts)
        if (not parts and transforms[key].outputs) or (transforms[key].spec.urn and not parts):
            ids.append(key)
    return Steps(transforms, tuple(ids))
