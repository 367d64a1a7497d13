# SPDX-License-Identifier: GPL-3.0-or-later
"""The one file of the library that reads YAML by PyYAML: its events, and its rules for plain scalars.

No object is ever constructed from a tag. Where the package is missing, importing this file still works, so that a
caller can answer with LIBRARY_MISSING instead of a traceback.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ..errors import OpenNGTError

try:
    import yaml
except ImportError as exc:
    MISSING: ImportError | None = exc
else:
    MISSING = None
    # libyaml reads 128,000 bytes in a tenth of a second, Python's own scanner in several.
    LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    RESOLVER: Any = yaml.SafeLoader("")

__all__ = ["Event", "YamlProblem", "events", "scalar"]

PREFIX = "tag:yaml.org,2002:"
LONGEST_NUMBER = 64
QUOTED = re.compile(r"(['\"])[^'\"]{2,}\1")


class YamlProblem(Exception):
    """Text that is no YAML. It holds the parser's words without what it quotes."""

    def __init__(self, what: str, line: int | None) -> None:
        super().__init__(what)
        self.what = what
        self.line = line


class Event(NamedTuple):
    kind: str
    """`scalar`, `alias`, `mapping`, `sequence`, `end` of one of these two, or `document`."""
    line: int
    """From 1, as `column`."""
    column: int
    anchor: str | None = None
    tag: str | None = None
    """Written in the text, in its short form, as `!!str`; None where there is none."""
    value: str = ""
    plain: bool = False


def events(text: str) -> Iterator[Event]:
    """What stands in the text, one by one and without looking far ahead. YamlProblem; LIBRARY_MISSING."""
    _require()
    try:
        for event in yaml.parse(text, Loader=LOADER):
            kind = _KINDS.get(type(event).__name__)
            if kind is not None:
                yield _event(kind, event)
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        raise YamlProblem(_words(exc), None if mark is None else mark.line + 1) from None
    except yaml.YAMLError as exc:
        raise YamlProblem(f"cannot be read ({type(exc).__name__})", None) from None


def scalar(event: Event) -> Any:
    """The value of a scalar by the rules that cloud-init reads by (YAML 1.1), as JSON has it: dates stay text.

    YamlProblem for a number that is out of all bounds or does not fit its tag.
    """
    tag = event.tag[2:] if event.tag is not None and event.tag.startswith("!!") else None
    if tag is None:
        if not event.plain or event.tag == "!":
            return event.value
        tag = RESOLVER.resolve(yaml.ScalarNode, event.value, (True, False))[len(PREFIX) :]
    construct = _CONSTRUCTORS.get(tag)
    if construct is None:
        return event.value
    if len(event.value) > LONGEST_NUMBER:
        raise YamlProblem(f"a number of more than {LONGEST_NUMBER} characters", event.line)
    try:
        node = yaml.ScalarNode(PREFIX + tag, event.value)
        return getattr(RESOLVER, construct)(node)
    except (ValueError, KeyError, IndexError, yaml.YAMLError):
        raise YamlProblem(f"a value that does not fit its tag !!{tag}", event.line) from None


def _event(kind: str, event: Any) -> Event:
    mark = event.start_mark
    tag = getattr(event, "tag", None)
    if tag is not None and tag.startswith(PREFIX):
        tag = "!!" + tag[len(PREFIX) :]
    implicit = getattr(event, "implicit", None)
    plain = kind == "scalar" and event.style in (None, "") and bool(implicit and implicit[0])
    anchor = getattr(event, "anchor", None)
    return Event(kind, mark.line + 1, mark.column + 1, anchor, tag, getattr(event, "value", ""), plain)


_KINDS: Mapping[str, str] = {
    "ScalarEvent": "scalar",
    "AliasEvent": "alias",
    "MappingStartEvent": "mapping",
    "SequenceStartEvent": "sequence",
    "MappingEndEvent": "end",
    "SequenceEndEvent": "end",
    "DocumentStartEvent": "document",
}
_CONSTRUCTORS: Mapping[str, str] = {
    "int": "construct_yaml_int",
    "float": "construct_yaml_float",
    "bool": "construct_yaml_bool",
    "null": "construct_yaml_null",
}


def _words(exc: Any) -> str:
    said = [text for text in (exc.context, exc.problem) if text]
    return QUOTED.sub("…", ", ".join(said))[:200] or "cannot be read"


def _require() -> None:
    if MISSING is not None:
        raise OpenNGTError("LIBRARY_MISSING", f"the Python library PyYAML 6 or newer is needed: {MISSING}") from MISSING
