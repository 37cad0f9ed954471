"""A YAML text as plain values that know their lines.

YAML has traps that a reader of the file does not see: a key given twice keeps its last value, NO is
a boolean, 010 is eight, aliases can unfold to gigabytes. Each is a problem here, with its line and
what to write instead, so that a file means what it says, and the same to every YAML reader.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml
from yaml.composer import Composer
from yaml.constructor import SafeConstructor
from yaml.cyaml import CParser  # type: ignore[attr-defined]  # its own import of it
from yaml.parser import Parser
from yaml.reader import Reader
from yaml.resolver import Resolver
from yaml.scanner import Scanner

FieldPath = tuple[str | int, ...]
"""The keys and list positions that lead to a value, such as ``("aggregates", "by_origin")``."""

_SHOWN_CHARACTERS = 80
_DECIMAL = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_TAG = "tag:yaml.org,2002:"
_KINDS = {
    f"{_TAG}bool": "a boolean",
    f"{_TAG}float": "a number",
    f"{_TAG}int": "a number",
    f"{_TAG}null": "no value",
    f"{_TAG}timestamp": "a date",
}
_SYNTAX_REMEDY = (
    "check the indentation (spaces only) and the brackets, and quote text that holds ': ' or ' #' "
    "or begins with one of @ * & ! { [ | > % `"
)


@dataclass(frozen=True)
class Problem:
    """What is wrong at one place of the text.

    Attributes:
        line: Line of the text, from 1.
        path: The field, ``()`` for the text as a whole.
        text: The value, what is wrong with it, and what to write instead, in one line.
    """

    line: int
    path: FieldPath
    text: str


@dataclass(frozen=True)
class _Entry:
    """One value: the line of its key or list item, and its node."""

    line: int
    node: yaml.Node


@dataclass(frozen=True)
class YamlDocument:
    """The values of a YAML text, where they are written, and the problems of the text itself.

    Attributes:
        text: The YAML text.
        value: Plain Python values (dict with text keys, list, str, bool, int, float, date,
            datetime), None for an empty text and one that is not YAML.
        problems: What is wrong with the text as YAML.
    """

    text: str
    value: object
    problems: tuple[Problem, ...]
    _entries: Mapping[FieldPath, _Entry]

    def line(self, path: FieldPath, position: int | None = None) -> int:
        """Finds the line of a field, or of one character of its text.

        Args:
            path: The field; for one that the text does not have, its innermost parent counts.
            position: Offset of a character within the field's text, stripped of white space.
                Exact unless the text is in quotes, over several lines, with escapes. None asks
                for the line of the field's key.

        Returns:
            The line, from 1.
        """
        entry = self._entry(path)
        node = entry.node
        if position is None or not isinstance(node, yaml.ScalarNode):
            return entry.line
        start, end = node.start_mark.index, node.end_mark.index
        if node.style in ("|", ">"):
            start = self.text.find("\n", start, end) + 1
        elif node.style:
            start += len(node.style)
        # Folding and indenting change white space only, so the character sought has as many
        # visible characters before it in the text as in the value.
        before = len("".join(node.value.lstrip()[:position].split()))
        visible = [match.start() for match in re.finditer(r"\S", self.text[start:end])]
        if not visible:
            return entry.line
        return self.text.count("\n", 0, start + visible[min(before, len(visible) - 1)]) + 1

    def shown(self, path: FieldPath) -> str:
        """Shows a field's value in at most 80 characters: text quoted, the rest as written."""
        node = self._entry(path).node
        shown = node.value if isinstance(node, yaml.ScalarNode) else repr(_plain(node))
        if isinstance(node, yaml.ScalarNode) and node.tag not in _KINDS:
            shown = repr(shown)
        if len(shown) <= _SHOWN_CHARACTERS:
            return shown
        return shown[: _SHOWN_CHARACTERS - 1] + "…"

    def misread_as(self, path: FieldPath) -> str | None:
        """What YAML takes a field's unquoted text for, such as "a boolean"; None for text."""
        return _KINDS.get(self._entry(path).node.tag)

    def _entry(self, path: FieldPath) -> _Entry:
        while path not in self._entries:
            path = path[:-1]
        return self._entries[path]


def read_yaml(text: str) -> YamlDocument:
    """Reads a YAML text. Raises nothing: what is wrong is in the document's problems."""
    reader = _Reader()
    value: object = None
    try:
        node = _compose(text)
        if node is not None:
            reader.entries[()] = _Entry(node.start_mark.line + 1, node)
            value = reader.read(node, ())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = ", ".join(filter(None, (error.context, error.problem)))
        remedy = "" if isinstance(error, _UnsupportedError) else f"; {_SYNTAX_REMEDY}"
        reader.add(mark.line + 1 if mark else 1, (), f"not valid YAML: {what}{remedy}")
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        reader.add(line, (), f"holds the control character {error.character:#04x}; remove it")
    except RecursionError:
        reader.add(1, (), "not read: its values are nested hundreds of levels deep")
    return YamlDocument(text, value, tuple(reader.problems), reader.entries)


class _UnsupportedError(yaml.MarkedYAMLError):
    """YAML that is valid, but not read here."""


class _PlainComposer(Composer):
    """Composes nodes without anchors, aliases and tags, none of which a declaration needs."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Composes the next node; PyYAML calls it for every node of the text."""
        event: Any = self.peek_event()  # type: ignore[attr-defined]
        problem = None
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            problem = "anchors (&name) and aliases (*name) are not supported; repeat the value"
        elif event.tag is not None:
            problem = f"the tag {event.tag.replace(_TAG, '!!')} is not supported; remove it"
        if problem:
            raise _UnsupportedError(problem=problem, problem_mark=event.start_mark)
        return super().compose_node(parent, index)


class _Resolver(Resolver):
    """Tells the types of scalars."""


# To PyYAML 1e3 is text, to YAML 1.2, and with it to most editors, a number.
_Resolver.add_implicit_resolver(
    f"{_TAG}float",
    re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$"),
    list("-+.0123456789"),
)


class _Loader(_PlainComposer, Reader, Scanner, Parser, _Resolver):
    """PyYAML's own parser, whose messages about a mistake say where it is."""

    def __init__(self, stream: str) -> None:
        Reader.__init__(self, stream)
        Scanner.__init__(self)
        Parser.__init__(self)
        _PlainComposer.__init__(self)
        _Resolver.__init__(self)


class _FastLoader(_PlainComposer, CParser, _Resolver):
    """The parser of libyaml, five times as fast: every DAG file reads all dataset files."""

    def __init__(self, stream: str) -> None:
        CParser.__init__(self, stream)
        _PlainComposer.__init__(self)
        _Resolver.__init__(self)


def _compose(text: str) -> yaml.Node | None:
    try:
        return _FastLoader(text).get_single_node()
    except yaml.YAMLError:
        return _Loader(text).get_single_node()


class _Reader:
    """Turns nodes into plain values and collects where they are and what is wrong with them."""

    def __init__(self) -> None:
        self.entries: dict[FieldPath, _Entry] = {}
        self.problems: list[Problem] = []

    def add(self, line: int, path: FieldPath, text: str) -> None:
        self.problems.append(Problem(line, path, text))

    def read(self, node: yaml.Node, path: FieldPath) -> object:
        if isinstance(node, yaml.MappingNode):
            return self._read_mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return self._read_sequence(node, path)
        return self._read_scalar(node, path)

    def _read_sequence(self, node: yaml.SequenceNode, path: FieldPath) -> list[object]:
        values = []
        for index, item in enumerate(node.value):
            inner = (*path, index)
            self.entries[inner] = _Entry(item.start_mark.line + 1, item)
            values.append(self.read(item, inner))
        return values

    def _read_mapping(self, node: yaml.MappingNode, path: FieldPath) -> dict[str, object]:
        values: dict[str, object] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                self.add(line, path, f"the key {_plain(key_node)} is not text; quote it")
                continue
            key = key_node.value
            inner = (*path, key)
            if key in values:
                first = self.entries[inner].line
                self.add(line, inner, f"is given twice, first on line {first}; keep one of the two")
                continue
            self.entries[inner] = _Entry(line, value_node)
            if kind := _KINDS.get(key_node.tag):
                self.add(line, inner, f"YAML reads the key {key} as {kind}; quote it: '{key}'")
            values[key] = self.read(value_node, inner)
        return values

    def _read_scalar(self, node: yaml.Node, path: FieldPath) -> object:
        line, written = self.entries[path].line, node.value
        value = _plain(node)
        if value is None and written:
            self.add(line, path, f"{written} is read by YAML as no value; quote it: '{written}'")
        elif value is None:
            self.add(line, path, "has no value; give one, or delete the line")
        elif type(value) is int and not _DECIMAL.fullmatch(written):
            meant = f"write {value}, or '{written}' for the text"
            self.add(line, path, f"{written} is read by YAML as the number {value}; {meant}")
        return value


def _plain(node: yaml.Node) -> object:
    """The Python value of a node; what looks like a date but is none, as 2013-02-30, is text."""
    if isinstance(node, yaml.ScalarNode) and node.tag not in _KINDS:
        return node.value
    try:
        return SafeConstructor().construct_object(node, deep=True)
    except (ValueError, yaml.YAMLError):
        return node.value if isinstance(node, yaml.ScalarNode) else "…"
