# SPDX-License-Identifier: GPL-3.0-or-later
"""What a value breaks of a schema, in words for who wrote it: the key, what is there (no value), what is wanted."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from ..install.fleet.shapes import nearest, shape_of
from .findings import finding
from .model import Finding
from .safe_yaml import Document, key_of

__all__ = ["Violation", "finding_of"]

TYPES = {
    "array": "a list",
    "boolean": "true or false",
    "integer": "a whole number",
    "null": "null",
    "number": "a number",
    "object": "a mapping",
    "string": "text",
}
SIZES = {
    "maxItems": "has more than {0} items",
    "minItems": "has fewer items than {0}",
    "minLength": "is shorter than {0} characters",
    "maxLength": "is longer than {0} characters",
    "minProperties": "has fewer keys than {0}",
    "maxProperties": "has more keys than {0}",
    "minimum": "is less than {0}",
    "maximum": "is more than {0}",
}
INSTEAD = re.compile(r"\*\*([a-z0-9_]+)\*\*")
MOST_CHOICES = 12
MOST_KEYS = 10


class Violation(NamedTuple):
    path: tuple[str | int, ...]
    keyword: str
    """`additionalProperties`, `type`, …; `deprecated` for what is right and on its way out."""
    wanted: Any
    """The keyword's value in the schema."""
    value: Any
    schema: Mapping[str, Any]
    """Where the keyword stands."""


def finding_of(violation: Violation, document: Document, part: str) -> list[Finding]:
    if violation.keyword == "additionalProperties" and isinstance(violation.value, Mapping):
        known = violation.schema.get("properties", {})
        extra = [name for name in violation.value if name not in known]
        return [_unknown(name, known, violation, document, part) for name in extra[:MOST_KEYS]]
    if violation.keyword == "required":
        return [_missing(name, violation, document, part) for name in violation.wanted if name not in violation.value]
    if violation.keyword == "deprecated":
        return [_deprecated(violation, document, part)]
    where: Any = {"line": document.line(violation.path), "key": key_of(violation.path)}
    return [finding("BAD_VALUE", part, _words(violation), **where)]


def _unknown(name: str, known: Iterable[str], violation: Violation, document: Document, part: str) -> Finding:
    path = (*violation.path, name)
    where: Any = {"line": document.line(path), "key": key_of(path)}
    meant = _spelling(name, known)
    if meant is not None:
        return finding("MISSPELT_KEY", part, f"is spelt {meant}", remedy=f"write {meant}", **where)
    return finding("BAD_KEY", part, "is not known to cloud-init at this place", **where)


def _spelling(name: str, known: Iterable[str]) -> str | None:
    names = list(known)
    for other in (name.lower().replace("-", "_"), name.lower().replace("_", "-")):
        if other in names:
            return other
    return nearest(name, names)


def _missing(name: str, violation: Violation, document: Document, part: str) -> Finding:
    where: Any = {"line": document.line(violation.path), "key": key_of(violation.path)}
    return finding("MISSING_KEY", part, f"has no {name}", remedy=f"add {name}", **where)


def _deprecated(violation: Violation, document: Document, part: str) -> Finding:
    where: Any = {"line": document.line(violation.path), "key": key_of(violation.path), "severity": "warning"}
    told = INSTEAD.search(str(violation.schema.get("deprecated_description", "")))
    since = violation.schema.get("deprecated_version", "")
    name = str(violation.path[-1]) if violation.path else ""
    if told is not None and name.replace("-", "_") == told[1]:
        what = f"is spelt {told[1]} since cloud-init {since}"
        return finding("MISSPELT_KEY", part, what, remedy=f"write {told[1]}", **where)
    remedy = f"use {told[1]} instead" if told is not None else None
    return finding("DEPRECATED_KEY", part, f"is on its way out since cloud-init {since}", remedy=remedy, **where)


def _words(violation: Violation) -> str:
    keyword, wanted = violation.keyword, violation.wanted
    shape = shape_of(violation.value).replace("an object", "a mapping")
    if keyword == "type":
        names = wanted if isinstance(wanted, list) else [wanted]
        return f"is {shape}; {' or '.join(TYPES.get(str(name), str(name)) for name in names)} is wanted"
    if keyword == "enum" and isinstance(wanted, list) and len(wanted) <= MOST_CHOICES:
        return f"is {shape} that is none of {', '.join(map(str, wanted))}"
    if keyword in SIZES:
        return SIZES[keyword].format(wanted)
    if keyword == "pattern":
        return f"is {shape} that does not have the form {wanted}"
    if keyword == "format":
        return f"is {shape} that is no {wanted}"
    if keyword == "uniqueItems":
        return "has an item twice"
    return f"is {shape} that fits none of the ways in which cloud-init takes it"
