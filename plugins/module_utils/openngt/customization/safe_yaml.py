# SPDX-License-Identifier: GPL-3.0-or-later
"""YAML from strangers, within bounds: plain values, and the line and column of each of their keys.

Nothing is expanded or constructed before it is counted. Tags, keys given twice, aliases beyond use and what YAML 1.1
surprises with are findings, not values.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ._yaml_events import Event, YamlProblem, events, scalar
from .findings import finding
from .model import Finding
from .texts import read_text

__all__ = ["MOST_ALIASES", "MOST_BYTES", "MOST_DEPTH", "MOST_VALUES", "Document", "Place", "key_of", "load"]

MOST_BYTES = 1 << 20
MOST_VALUES = 20_000
"""With what aliases stand for. The largest customization that was ever seen had some hundreds."""
MOST_DEPTH = 40
MOST_ALIASES = 100
MOST_FINDINGS = 20
LONGEST_KEY_SHOWN = 64
TAGS = ("!", "!!str", "!!int", "!!float", "!!bool", "!!null", "!!seq", "!!map", "!!binary", "!!timestamp")
"""Of the core schema; and binary, which cloud-init's own examples use for files."""
UNREADABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What YAML takes for no character."""
HALF_PAIR = re.compile("[\ud800-\udfff]")
PLAIN_KEY = re.compile(r"[\w.@/+ -]+")


class Place(NamedTuple):
    """From 1."""

    line: int
    column: int


@dataclass
class _Node:
    value: Any
    place: Place
    size: int = 1
    children: dict[str, _Node] | list[_Node] | None = None
    keys: dict[str, Place] = field(default_factory=dict)


class Document(NamedTuple):
    """What was read. `value` is None where nothing could be; `findings` says why."""

    value: Any
    findings: list[Finding]
    root: _Node | None

    def place(self, path: Sequence[str | int]) -> Place | None:
        """Where the key at the path stands, or the nearest one above it that is there."""
        node, place = self.root, None if self.root is None else self.root.place
        for step in path:
            if node is None:
                break
            if isinstance(node.children, dict) and isinstance(step, str) and step in node.children:
                place = node.keys.get(step, place)
                node = node.children[step]
            elif isinstance(node.children, list) and isinstance(step, int) and step < len(node.children):
                node = node.children[step]
                place = node.place
            else:
                break
        return place

    def line(self, path: Sequence[str | int]) -> int | None:
        place = self.place(path)
        return None if place is None else place.line


class _Unfit(Exception):
    def __init__(self, code: str, what: str, line: int, path: Sequence[str | int] = ()) -> None:
        super().__init__(code)
        self.code = code
        self.what = what
        self.line = line
        self.path = tuple(path)


def load(content: bytes, part: str) -> Document:
    """One document of YAML as JSON values (keys are text as written). LIBRARY_MISSING."""
    if len(content) > MOST_BYTES:
        return Document(None, [finding("TOO_LARGE", part, f"has more than {MOST_BYTES} bytes")], None)
    text = read_text(content, part)
    if isinstance(text, Finding):
        return Document(None, [text], None)
    odd = UNREADABLE.search(text)
    if odd is not None:
        line = text.count("\n", 0, odd.start()) + 1
        what = f"holds the character U+{ord(odd[0]):04X}, which YAML does not allow"
        return Document(None, [finding("BAD_CHARACTER", part, what, line=line)], None)
    reader = _Reader(part)
    try:
        root = reader.read(events(text))
    except _Unfit as exc:
        unfit = finding(exc.code, part, exc.what, line=exc.line, key=key_of(exc.path))
        return Document(None, [*reader.findings, unfit], None)
    except YamlProblem as exc:
        return Document(None, [*reader.findings, _syntax(exc, text, part)], None)
    return Document(None if root is None else root.value, reader.findings, root)


def key_of(path: Sequence[str | int]) -> str:
    """Dotted, as findings have it. A key that may be a text in the wrong place is not shown."""
    return ".".join(str(step) if _shown(step) else "…" for step in path)


def _shown(step: str | int) -> bool:
    return isinstance(step, int) or (len(step) <= LONGEST_KEY_SHOWN and PLAIN_KEY.fullmatch(step) is not None)


def _syntax(problem: YamlProblem, text: str, part: str) -> Finding:
    lines = text.splitlines()
    at = problem.line
    if at is not None and at <= len(lines):
        indent = lines[at - 1][: len(lines[at - 1]) - len(lines[at - 1].lstrip())]
        if "\t" in indent:
            return finding("TAB", part, "is indented with a tab", line=at)
    if "nesting depth" in problem.what:
        return finding("TOO_DEEP", part, f"is nested more than {MOST_DEPTH} levels deep", line=at)
    return finding("BAD_YAML", part, f"is no YAML: {problem.what}", line=at)


class _Reader:
    """Builds the nodes of one document out of events, in one pass."""

    def __init__(self, part: str) -> None:
        self.findings: list[Finding] = []
        self._part = part
        self._anchors: dict[str, _Node | None] = {}
        self._values = 0
        self._aliases = 0
        self._path: list[str | int] = []

    def read(self, source: Iterator[Event]) -> _Node | None:
        root: _Node | None = None
        documents = 0
        for event in source:
            if event.kind == "document":
                documents += 1
                if documents > 1:
                    raise _Unfit("BAD_YAML", "holds more than one document (---)", event.line)
            else:
                root = self._node(event, source, MOST_DEPTH)
        return root

    def _node(self, event: Event, source: Iterator[Event], depth: int) -> _Node:
        if depth == 0:
            raise _Unfit("TOO_DEEP", f"is nested more than {MOST_DEPTH} levels deep", event.line, self._path)
        if event.kind == "alias":
            return self._alias(event)
        self._count(1, event)
        if event.tag is not None and event.tag not in TAGS:
            raise _Unfit("BAD_TAG", "has a tag that plain YAML has not", event.line, self._path)
        if event.anchor is not None:
            if event.anchor in self._anchors:
                raise _Unfit("BAD_YAML", "gives one anchor (&) twice", event.line, self._path)
            self._anchors[event.anchor] = None
        place = Place(event.line, event.column)
        if event.kind == "scalar":
            node = _Node(self._scalar(event), place)
        elif event.kind == "sequence":
            node = self._sequence(place, source, depth)
        else:
            node = self._mapping(place, source, depth)
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        return node

    def _count(self, size: int, event: Event) -> None:
        self._values += size
        if self._values > MOST_VALUES:
            what = f"has more than {MOST_VALUES} values, counting what its aliases stand for"
            raise _Unfit("TOO_MANY_VALUES", what, event.line, self._path)

    def _alias(self, event: Event) -> _Node:
        self._aliases += 1
        if self._aliases > MOST_ALIASES:
            raise _Unfit("TOO_MANY_ALIASES", f"has more than {MOST_ALIASES} aliases", event.line, self._path)
        node = self._anchors.get(event.anchor or "")
        if node is None:
            own = event.anchor in self._anchors
            what = "has an alias (*) for what it stands in" if own else "has an alias (*) without its anchor (&)"
            raise _Unfit("BAD_YAML", what, event.line, self._path)
        self._count(node.size, event)
        return node

    def _scalar(self, event: Event) -> Any:
        value = scalar(event)
        if isinstance(value, str) and HALF_PAIR.search(value) is not None:
            what = "holds half of a surrogate pair, which no file can hold"
            raise _Unfit("BAD_CHARACTER", what, event.line, self._path)
        return value

    def _sequence(self, place: Place, source: Iterator[Event], depth: int) -> _Node:
        children: list[_Node] = []
        size = 1
        for event in source:
            if event.kind == "end":
                break
            self._path.append(len(children))
            node = self._node(event, source, depth - 1)
            self._path.pop()
            children.append(node)
            size += node.size
        return _Node([child.value for child in children], place, size, children)

    def _mapping(self, place: Place, source: Iterator[Event], depth: int) -> _Node:
        children: dict[str, _Node] = {}
        keys: dict[str, Place] = {}
        merged: list[_Node] = []
        size = 1
        for event in source:
            if event.kind == "end":
                break
            name = self._key(event)
            if name in children:
                self._twice(name, event, keys[name])
            self._path.append(name)
            node = self._node(next(source), source, depth - 1)
            self._path.pop()
            size += 1 + node.size
            if name == "<<" and event.plain:
                merged.append(node)
                continue
            children[name] = node
            keys[name] = Place(event.line, event.column)
        for node in merged:
            self._merge(node, children, keys)
        return _Node({name: child.value for name, child in children.items()}, place, size, children, keys)

    def _key(self, event: Event) -> str:
        if event.kind != "scalar":
            raise _Unfit("BAD_YAML", "has a key that is no text", event.line, self._path)
        self._count(1, event)
        if event.tag is not None and event.tag not in TAGS:
            raise _Unfit("BAD_TAG", "has a tag that plain YAML has not", event.line, self._path)
        if event.anchor is not None:
            self._anchors[event.anchor] = _Node(self._scalar(event), Place(event.line, event.column))
        if not event.plain:
            return str(self._scalar(event))
        return event.value

    def _twice(self, name: str, event: Event, first: Place) -> None:
        if len(self.findings) < MOST_FINDINGS:
            key = key_of([*self._path, name])
            what = f"has this key already in line {first.line}"
            self.findings.append(finding("DUPLICATE_KEY", self._part, what, line=event.line, key=key))

    def _merge(self, node: _Node, children: dict[str, _Node], keys: dict[str, Place]) -> None:
        sources = node.children if isinstance(node.children, list) else [node]
        for source in sources:
            if not isinstance(source.children, dict):
                raise _Unfit("BAD_YAML", "merges (<<) what is no mapping", node.place.line, self._path)
            for name, child in source.children.items():
                children.setdefault(name, child)
                keys.setdefault(name, source.keys[name])
