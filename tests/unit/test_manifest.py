"""The manifest: what it says survives, and which versions are kept."""

from __future__ import annotations

import datetime
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_jobs.errors import InputError
from beam_jobs.publishing.manifest import Begun, Manifest, PublishedAggregate, Version

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
NOW = datetime.datetime(2013, 2, 1, tzinfo=datetime.UTC)


def version(number: int, text: str = "x") -> Version:
    path = f"runs/{text.replace('/', '')}.x"
    aggregate = PublishedAggregate(result=path, rows=1, states=(path,), fingerprint=text)
    return Version(
        number=number,
        run_id=f"r{number}",
        published=NOW,
        rows=1,
        aggregates={text: aggregate},
        report=path,
        sources={text: text},
    )


def manifest(current: int, *numbers: int) -> Manifest:
    versions = tuple(version(number) for number in numbers)
    return Manifest(dataset="d", partition="2013-01-31", current=current, versions=versions)


def kept(found: Manifest) -> tuple[int, ...]:
    return tuple(one.number for one in found.versions)


@given(TEXT)
def test_what_it_says_survives(text: str) -> None:
    written = Manifest(dataset=text, partition=text, current=1, versions=(version(1, text),))
    assert Manifest.of_json(written.to_json(), "m.json") == written


def test_a_new_version_pushes_out_the_oldest() -> None:
    found = manifest(3, 3, 2, 1).followed_by(version(4), 3)
    assert (found.current, kept(found)) == (4, (4, 3, 2))
    assert (found.version.run_id, found.newest) == ("r4", 4)


def test_the_version_that_is_replaced_is_kept_even_if_it_is_old() -> None:
    found = manifest(1, 3, 2, 1).followed_by(version(4), 2)
    assert (found.current, kept(found)) == (4, (4, 1))


@given(st.sets(st.integers(1, 50), min_size=1), st.data(), st.integers(1, 10))
def test_as_many_are_kept_as_are_to_be(numbers: set[int], data: st.DataObject, keep: int) -> None:
    current = data.draw(st.sampled_from(sorted(numbers)))
    before = manifest(current, *sorted(numbers, reverse=True))
    found = before.followed_by(version(before.newest + 1), keep)
    assert len(found.versions) == min(keep, len(numbers) + 1)
    assert kept(found) == tuple(sorted(kept(found), reverse=True))
    assert found.current == before.newest + 1 == kept(found)[0]
    assert keep == 1 or current in kept(found)


def test_a_manifest_without_its_current_version_is_refused_by_name() -> None:
    broken = manifest(3, 2, 1).to_json()
    with pytest.raises(InputError, match="m.json: its current version 3 is not listed"):
        Manifest.of_json(broken, "m.json")


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"dataset": "d", "more": 1}'])
def test_what_is_no_manifest_is_refused_by_name(text: str) -> None:
    with pytest.raises(InputError, match="m.json: is no manifest of this version"):
        Manifest.of_json(text, "m.json")
    with pytest.raises(InputError, match="m.json: is no beginning of a run"):
        Begun.of_json(text, "m.json")


def test_the_document_names_files_relative_to_the_partition() -> None:
    document = json.loads(manifest(1, 1).to_json())
    assert document["versions"][0]["aggregates"]["x"]["result"] == "runs/x.x"


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "runs/../../../x", "../runs/x", "runs/", "runs", "runs//x", "", "x"]
)
def test_a_manifest_leads_nowhere_but_to_runs(path: str) -> None:
    broken = manifest(1, 1).to_json().replace('"runs/x.x"', json.dumps(path))
    with pytest.raises(InputError, match="is no manifest of this version: versions.*not below r"):
        Manifest.of_json(broken, "m.json")
