"""Listing: a page of the objects whose names have a prefix, folded at a delimiter."""

from __future__ import annotations

import base64
import binascii
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from local_cloud.storage.errors import invalid
from local_cloud.storage.records import StoredObject

MAX_PAGE = 1000
_FIRST_SCAN = 16

Scan = Callable[[str, str | None, int], Sequence[StoredObject]]


@dataclass(frozen=True)
class Query:
    """What is to be listed.

    Attributes:
        prefix: Names begin with it.
        delimiter: Names that have it after the prefix are folded into one common prefix.
        includes_trailing: Whether an object whose name is a common prefix is listed as well.
        start: Names are at or after it.
        end: Names are before it.
        glob: Names and common prefixes match it.
        limit: Objects and common prefixes of one page.
    """

    prefix: str = ""
    delimiter: str = ""
    includes_trailing: bool = False
    start: str = ""
    end: str | None = None
    glob: re.Pattern[str] | None = None
    limit: int = MAX_PAGE

    def common_prefix(self, name: str) -> str | None:
        """What a name is folded into, if it is."""
        at = name.find(self.delimiter, len(self.prefix)) if self.delimiter else -1
        return None if at < 0 else name[: at + len(self.delimiter)]

    def admits(self, name: str) -> bool:
        """Whether the glob, if any, matches."""
        return self.glob is None or bool(self.glob.fullmatch(name))


@dataclass(frozen=True)
class Page:
    """Some of what was asked for.

    Attributes:
        objects: In the order of their names.
        prefixes: In their order.
        following: The first name of the next page; None when this is the last one.
    """

    objects: list[StoredObject]
    prefixes: list[str]
    following: str | None


def list_page(scan: Scan, query: Query, start: str | None = None) -> Page:
    """A page.

    Args:
        scan: The objects from a name to before another, at most so many, in order.
        query: What is listed.
        start: `Page.following` of the page before.
    """
    objects: list[StoredObject] = []
    prefixes: list[str] = []
    begin: str | None = max(query.start, query.prefix, start or "")
    end = _earlier(query.end, after_prefix(query.prefix))
    size = _FIRST_SCAN
    while begin is not None and (end is None or begin < end):
        found = scan(begin, end, size)
        begin = f"{found[-1].name}\0" if len(found) == size else None
        size = min(2 * size, MAX_PAGE)
        for one in found:
            folded = query.common_prefix(one.name)
            is_object = query.admits(one.name) and (
                folded is None or (query.includes_trailing and folded == one.name)
            )
            is_prefix = folded is not None and query.admits(folded)
            count = len(objects) + len(prefixes)
            if count and count + is_object + is_prefix > query.limit:
                return Page(objects, prefixes, one.name)
            if is_object:
                objects.append(one)
            if folded is not None:
                if is_prefix:
                    prefixes.append(folded)
                # All others below it are skipped, however many there are.
                begin, size = after_prefix(folded), _FIRST_SCAN
                break
    return Page(objects, prefixes, None)


def after_prefix(prefix: str) -> str | None:
    """The first string after all those that begin with a prefix; None if there is none."""
    # The order of UTF-8 is that of code points; surrogates are none.
    stem = prefix.rstrip(chr(sys.maxunicode))
    if not stem:
        return None
    return stem[:-1] + ("\ue000" if stem[-1] == "\ud7ff" else chr(ord(stem[-1]) + 1))


def _earlier(one: str | None, other: str | None) -> str | None:
    return min((end for end in (one, other) if end is not None), default=None)


def compile_glob(pattern: str) -> re.Pattern[str]:
    """A regular expression for `matchGlob`.

    Raises:
        StorageError: The pattern is malformed.
    """
    tokens = re.compile(r"\*\*|\*|\?|\{|\}|,|\[(?:!|\^)?[^]]+\]|\\.|.", re.DOTALL)
    depth = 0
    parts = []
    for token in tokens.findall(pattern):
        depth += (token == "{") - (token == "}")  # noqa: S105
        if depth < 0:
            break
        parts.append(_glob_token(token, inside=depth > 0))
    if depth:
        raise invalid(f"Invalid glob {pattern!r}: its braces do not match", location="matchGlob")
    try:
        return re.compile("".join(parts), re.DOTALL)
    except re.error as error:
        raise invalid(f"Invalid glob {pattern!r}: {error}", location="matchGlob") from None


def _glob_token(token: str, *, inside: bool) -> str:
    wild = {"**": ".*", "*": "[^/]*", "?": "[^/]", "{": "(?:", "}": ")"}
    if token in wild:
        return wild[token]
    if token == "," and inside:  # noqa: S105
        return "|"
    if len(token) > 1 and token[0] == "[":
        negated = token[1] in "!^"
        inner = token[1 + negated : -1].replace("\\", "\\\\").replace("[", "\\[")
        return f"[{'^' * negated}{inner}]"
    return re.escape(token[1:] if token[0] == "\\" and len(token) > 1 else token)


def encode_token(name: str | None) -> str | None:
    """The token of a page that begins with a name."""
    return None if name is None else base64.urlsafe_b64encode(name.encode()).decode()


def decode_token(token: str | None) -> str | None:
    """The name that a page begins with.

    Raises:
        StorageError: The token is none of ours.
    """
    if not token:
        return None
    try:
        return base64.b64decode(token, altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise invalid(f"Invalid page token: {token!r}", location="pageToken") from None
