from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from google.api_core import exceptions
from hypothesis import given, settings
from hypothesis import strategies as st

from local_cloud.storage.contents import Content
from local_cloud.storage.errors import StorageError
from local_cloud.storage.listing import Query, compile_glob, list_page
from local_cloud.storage.records import StoredObject
from tests.local_cloud.storage_server import Http, bucket, client, http, server

__all__ = ["bucket", "client", "http", "server"]

# Few characters, so that names share prefixes; the last ones are at the ends of the code points.
_TEXT = st.text("ab/\0é\ud7ff\ue000\U0010ffff", max_size=6)
_NAMES = st.sets(_TEXT.filter(bool), max_size=40)


def _object(name: str) -> StoredObject:
    return StoredObject("b", name, 1, 1, Content("", 0, None, ""), None, "", "", {})


def _pages(names: set[str], query: Query) -> tuple[list[str], list[str]]:
    """All pages of a listing; checks the size of each."""
    ordered = [_object(name) for name in sorted(names)]

    def scan(start: str, end: str | None, limit: int) -> Sequence[StoredObject]:
        found = [one for one in ordered if start <= one.name and (end is None or one.name < end)]
        return found[:limit]

    objects: list[str] = []
    prefixes: list[str] = []
    start = None
    while True:
        page = list_page(scan, query, start)
        # A name that is its own common prefix comes as both, on one page.
        assert len(page.objects) + len(page.prefixes) <= max(query.limit, 2)
        assert page.objects or page.prefixes or page.following is None
        objects += [found.name for found in page.objects]
        prefixes += page.prefixes
        if page.following is None:
            return objects, prefixes
        start = page.following


@settings(max_examples=400, deadline=None)
@given(
    names=_NAMES, prefix=_TEXT, delimiter=st.sampled_from(["", "/", "a", "/a"]),
    trailing=st.booleans(), start=_TEXT, end=_TEXT | st.none(), limit=st.integers(1, 7),
)  # fmt: skip
def test_pages_put_together_are_the_listing_as_documented(
    *, names: set[str], prefix: str, delimiter: str, trailing: bool,
    start: str, end: str | None, limit: int,
) -> None:  # fmt: skip
    query = Query(prefix, delimiter, trailing, start, end, None, limit)
    objects, prefixes = set(), set()
    for name in names:
        if name.startswith(prefix) and start <= name and (end is None or name < end):
            inside, found, _ = name[len(prefix) :].partition(delimiter or "\1")
            folded = prefix + inside + found
            if found:
                prefixes.add(folded)
            if not found or (trailing and folded == name):
                objects.add(name)
    assert _pages(names, query) == (sorted(objects), sorted(prefixes))


@settings(max_examples=200, deadline=None)
@given(names=_NAMES, glob=st.text("ab*?/", min_size=1, max_size=5))
def test_a_glob_chooses_names_as_a_shell_would(names: set[str], glob: str) -> None:
    if "***" in glob:
        return

    def matches(name: str, pattern: str) -> bool:
        if not pattern:
            return not name
        if pattern[0] == "\2":
            return any(matches(name[at:], pattern[1:]) for at in range(len(name) + 1))
        if pattern[0] == "*":
            stop = name.find("/") if "/" in name else len(name)
            return any(matches(name[at:], pattern[1:]) for at in range(stop + 1))
        return bool(name) and (
            (pattern[0] == "?" and name[0] != "/") or pattern[0] == name[0]
        ) and matches(name[1:], pattern[1:])  # fmt: skip

    expected = sorted(name for name in names if matches(name, glob.replace("**", "\2")))
    assert _pages(names, Query(glob=compile_glob(glob)))[0] == expected


@pytest.mark.parametrize(
    ("glob", "name", "found"),
    [
        ("*.csv", "a.csv", True), ("*.csv", "x/a.csv", False), ("**.csv", "x/y/a.csv", True),
        ("x/**/a", "x/y/z/a", True), ("x/?/a", "x/y/a", True), ("x/?/a", "x///a", False),
        ("[ab]c", "bc", True), ("[!ab]c", "bc", False), ("[a-c]c", "cc", True),
        ("{a,bc}.txt", "bc.txt", True), ("{a,bc}.txt", "c.txt", False), ("a,b", "a,b", True),
        ("a.b", "axb", False), (r"a\*b", "a*b", True), (r"a\*b", "axb", False),
    ],
)  # fmt: skip
def test_globs_are_as_documented(glob: str, name: str, found: bool) -> None:
    assert bool(compile_glob(glob).fullmatch(name)) is found


def test_a_glob_whose_braces_do_not_match_is_refused() -> None:
    for glob in ("{a", "a}", "}{"):
        with pytest.raises(StorageError):
            compile_glob(glob)


class TestClient:
    @pytest.fixture(autouse=True)
    def _objects(self, bucket: Any) -> None:
        for name in ("a/b", "a/c", "d", "e", "e/f", "e/g/h", "z/"):
            bucket.blob(name).upload_from_string("x")

    def test_a_listing_is_in_the_order_of_names(self, bucket: Any) -> None:
        names = [blob.name for blob in bucket.list_blobs()]
        assert names == ["a/b", "a/c", "d", "e", "e/f", "e/g/h", "z/"]

    def test_a_delimiter_folds_names(self, bucket: Any) -> None:
        found = bucket.list_blobs(delimiter="/")
        assert [blob.name for blob in found] == ["d", "e"]
        assert found.prefixes == {"a/", "e/", "z/"}
        found = bucket.list_blobs(delimiter="/", prefix="e/")
        assert [blob.name for blob in found] == ["e/f"]
        assert found.prefixes == {"e/g/"}

    def test_a_trailing_delimiter_is_listed_when_asked_for(self, bucket: Any) -> None:
        found = bucket.list_blobs(delimiter="/", include_trailing_delimiter=True)
        assert [blob.name for blob in found] == ["d", "e", "z/"]
        assert found.prefixes == {"a/", "e/", "z/"}

    def test_offsets_are_inclusive_and_exclusive(self, bucket: Any) -> None:
        found = bucket.list_blobs(start_offset="a/c", end_offset="e/g")
        assert [blob.name for blob in found] == ["a/c", "d", "e", "e/f"]

    def test_a_glob_chooses_objects(self, bucket: Any) -> None:
        found = bucket.list_blobs(match_glob="{a,e}/*")
        assert [blob.name for blob in found] == ["a/b", "a/c", "e/f"]

    def test_pages_hold_objects_and_prefixes_up_to_the_limit(self, bucket: Any) -> None:
        pages = bucket.list_blobs(delimiter="/", page_size=2).pages
        seen = [([blob.name for blob in page], sorted(page.prefixes)) for page in pages]
        assert seen == [(["d"], ["a/"]), (["e"], ["e/"]), ([], ["z/"])]

    def test_all_versions_are_the_live_ones(self, bucket: Any) -> None:
        bucket.blob("d").upload_from_string("again")
        assert len([blob for blob in bucket.list_blobs(versions=True) if blob.name == "d"]) == 1

    def test_soft_deleted_objects_are_refused_in_words(self, bucket: Any) -> None:
        with pytest.raises(exceptions.MethodNotImplemented, match="soft delete"):
            list(bucket.list_blobs(soft_deleted=True))

    @pytest.mark.parametrize(
        "wrong", [{"pageToken": "?"}, {"maxResults": "x"}, {"maxResults": "-1"}, {"matchGlob": "{"}]
    )
    def test_a_wrong_parameter_is_400(self, http: Http, wrong: dict[str, str]) -> None:
        assert http.session.get(http.objects, params=wrong).status_code == 400

    def test_the_xml_listing_pages_the_same_names(self, http: Http) -> None:
        names: list[str] = []
        token: dict[str, str] = {}
        for _ in range(4):
            query = {"list-type": "2", "max-keys": "2", **token}
            text = http.session.get(http.xml, params=query).text
            names += [part.split("<")[0] for part in text.split("<Key>")[1:]]
            if "<NextContinuationToken>" in text:
                token["continuation-token"] = text.split("<NextContinuationToken>")[1].split("<")[0]
        assert names == ["a/b", "a/c", "d", "e", "e/f", "e/g/h", "z/"]


def test_a_thousand_objects_are_one_page(bucket: Any) -> None:
    bucket.blob("first").upload_from_string("")
    for number in range(1000):
        bucket.copy_blob(bucket.blob("first"), bucket, f"o/{number:04}")
    pages = [len(list(page)) for page in bucket.list_blobs().pages]
    assert pages == [1000, 1]
