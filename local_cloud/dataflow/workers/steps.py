"""The steps of a pipeline as its user named them, and which stage of the run belongs to which."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from apache_beam.portability import common_urns
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.worker import bundle_processor

from local_cloud.dataflow.events import Step, StepState

_COMBINE_GROUPS = common_urns.combine_components.COMBINE_GROUPED_VALUES.urn
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

    @cached_property
    def _combined(self) -> Mapping[str, str]:
        """What becomes, one by one, of the groups that the runner combines as it groups them.

        Then there are no groups to be counted.
        """
        return {
            groups: combined
            for one in self.transforms.values()
            if one.spec.urn == _COMBINE_GROUPS
            for groups in one.inputs.values()
            for combined in one.outputs.values()
        }

    @cached_property
    def _followers(self) -> Mapping[str, list[str]]:
        """Which steps work on what a step puts out."""
        followers: dict[str, list[str]] = {key: [] for key in self.ids}
        for key in self.ids:
            for name in set(self.transforms[key].inputs.values()):
                if producer := self._producers.get(name):
                    followers[producer].append(key)
        return followers

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
                elements=self.elements(key, elements) or 0,
            )
            for key in self.ids
        ]

    def elements(self, step: str, elements: Mapping[str, int]) -> int | None:
        """How many elements a step has put out, given how many each collection has.

        Returns:
            None if none of its collections has been counted.
        """
        outputs = set(self.transforms[step].outputs.values())
        known = [name if name in elements else self._combined.get(name, "") for name in outputs]
        counts = [elements[name] for name in known if name in elements]
        return sum(counts) if counts else None

    def _state(self, step: str, states: Mapping[str, StepState]) -> StepState:
        while step not in states:
            transform = self.transforms[step]
            before = [self._producers.get(name) for name in transform.inputs.values()]
            if not any(before):
                # An impulse: it is done as soon as something works on what it gave.
                return "DONE" if self._is_begun(step, states) else "PENDING"
            step = next(key for key in before if key)
        return states[step]

    def _is_begun(self, step: str, states: Mapping[str, StepState]) -> bool:
        """Whether any step that is run has begun with what came of a step that is not."""
        if not self._followers[step]:  # Then no stage runs it.
            return bool(states) and set(states.values()) == {"DONE"}
        return any(
            states[key] != "PENDING" if key in states else self._is_begun(key, states)
            for key in self._followers[step]
        )

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
