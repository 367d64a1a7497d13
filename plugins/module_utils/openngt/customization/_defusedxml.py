# SPDX-License-Identifier: GPL-3.0-or-later
"""The one file of the library that imports `defusedxml`.

Where the package is missing, importing this file still works, so that a module can answer with LIBRARY_MISSING instead
of a traceback.
"""

from __future__ import annotations

from typing import Any, NamedTuple
from xml.etree import ElementTree
from xml.parsers import expat

from ..errors import OpenNGTError

try:
    from defusedxml.common import DefusedXmlException
    from defusedxml.ElementTree import DefusedXMLParser
except ImportError as exc:
    MISSING: ImportError | None = exc
else:
    MISSING = None

__all__ = ["Refused", "Tree", "read"]


class Tree(NamedTuple):
    root: ElementTree.Element
    lines: dict[ElementTree.Element, int]
    instructions: list[int]
    """Lines of processing instructions."""
    depth: int


class Refused(Exception):
    """`why`: `dtd` (a document type or an entity) or `malformed`; `text` is the parser's, which holds no content."""

    def __init__(self, why: str, text: str, line: int | None) -> None:
        super().__init__(text)
        self.why = why
        self.text = text
        self.line = line


class _Builder(ElementTree.TreeBuilder):
    """Notes lines as elements begin. The parser is known only once it is made."""

    parser: Any = None

    def __init__(self) -> None:
        super().__init__()
        self.lines: dict[ElementTree.Element, int] = {}
        self.instructions: list[int] = []
        self.depth = 0
        self._open = 0

    def start(self, tag: Any, attrs: Any) -> ElementTree.Element:
        element = super().start(tag, attrs)
        self.lines[element] = self._line()
        self._open += 1
        self.depth = max(self.depth, self._open)
        return element

    def end(self, tag: Any) -> ElementTree.Element:
        self._open -= 1
        return super().end(tag)

    def pi(self, target: str, text: str | None = None) -> Any:
        self.instructions.append(self._line())
        return None

    def _line(self) -> int:
        return int(self.parser.parser.CurrentLineNumber)


def read(text: str) -> Tree:
    """No entity is expanded, nothing is fetched: the first word of a document type ends it. Refused, LIBRARY_MISSING.

    A declared encoding does not count: the text has been decoded.
    """
    if MISSING is not None:
        raise OpenNGTError(
            "LIBRARY_MISSING", f"the Python library defusedxml 0.7 or newer is needed: {MISSING}"
        ) from MISSING
    builder = _Builder()
    parser = DefusedXMLParser(target=builder, forbid_dtd=True)
    builder.parser = parser
    try:
        parser.feed(text)
        root = parser.close()
    except DefusedXmlException as exc:
        raise Refused("dtd", "has a document type or an entity", builder._line()) from exc
    except ElementTree.ParseError as exc:
        # Its own words may quote what it has read.
        raise Refused("malformed", f"is no XML: {expat.ErrorString(exc.code)}", exc.position[0]) from None
    return Tree(root, builder.lines, builder.instructions, builder.depth)
