# SPDX-License-Identifier: GPL-3.0-or-later
"""The one file of the library that imports `jsonschema`: values against cloud-init's published schemas.

As cloud-init does it, and with bounds, as its keywords meet texts of strangers. Where the package is missing, importing
this file still works, so that a caller can answer with LIBRARY_MISSING instead of a traceback.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..errors import OpenNGTError
from .schema_findings import Violation

try:
    from jsonschema import Draft4Validator, FormatChecker, ValidationError
    from jsonschema.validators import extend
except ImportError as exc:
    MISSING: ImportError | None = exc
    ValidationError = Exception  # type: ignore[assignment, misc]
else:
    MISSING = None

__all__ = ["violations"]

MOST_VIOLATIONS = 50
LONGEST_FOR_PATTERNS = 1024
"""Some patterns of the schema take quadratic time."""


class _Deprecated(ValidationError):
    """No error: a value that matches a part of the schema which is marked so."""


def violations(value: Any, schema: Mapping[str, Any]) -> list[Violation]:
    """At most the first 50, in the order of the value. LIBRARY_MISSING."""
    if MISSING is not None:
        raise OpenNGTError("LIBRARY_MISSING", f"the Python library jsonschema 4.21 is needed: {MISSING}") from MISSING
    found = []
    for error in _validator()(schema, format_checker=FormatChecker()).iter_errors(value):
        found.append(_violation(error))
        if len(found) == MOST_VIOLATIONS:
            break
    return found


def _violation(error: Any) -> Violation:
    deprecated = isinstance(error, _Deprecated)
    keyword = "deprecated" if deprecated else str(error.validator)
    schema = error.schema if isinstance(error.schema, Mapping) else {}
    return Violation(tuple(error.absolute_path), keyword, error.validator_value, error.instance, schema)


def _real(errors: Iterable[Any]) -> list[Any]:
    return [error for error in errors if not isinstance(error, _Deprecated)]


def _deprecated(_validator: Any, marked: Any, _value: Any, _schema: Any) -> Iterator[Any]:
    if marked is True:
        yield _Deprecated("deprecated")


def _any_of(validator: Any, schemas: Any, value: Any, _schema: Any) -> Iterator[Any]:
    """Also for oneOf: that two of its schemas match is no mistake of who wrote the value."""
    branches = []
    for number, schema in enumerate(schemas):
        errors = list(validator.descend(value, schema, schema_path=number))
        if not _real(errors):
            yield from errors
            return
        branches.append(errors)
    yield from _meant(branches)


def _meant(branches: list[list[Any]]) -> list[Any]:
    """The branch that a person meant, which is the one that fits deepest. Those that fail at once are told as one."""
    deepest = max(_depth(errors) for errors in branches)
    if deepest == 0:
        real = [error for errors in branches for error in _real(errors)]
        if all(error.validator == "type" for error in real):
            return [_one_type(real)]
        right_type = [errors for errors in branches if all(error.validator != "type" for error in _real(errors))]
        return right_type[0] if len(right_type) == 1 else [ValidationError("none fits")]
    return next(errors for errors in branches if _depth(errors) == deepest)


def _depth(errors: list[Any]) -> int:
    return max(len(error.path) for error in _real(errors))


def _one_type(errors: list[Any]) -> Any:
    wanted = [name for error in errors for name in _names(error.validator_value)]
    first = errors[0]
    first.validator_value = list(dict.fromkeys(wanted))
    return first


def _names(types: Any) -> list[str]:
    return list(types) if isinstance(types, list) else [types]


def _pattern(_validator: Any, pattern: str, value: Any, schema: Any) -> Iterator[Any]:
    if isinstance(value, str) and len(value) > LONGEST_FOR_PATTERNS:
        yield ValidationError("too long")
    else:
        yield from Draft4Validator.VALIDATORS["pattern"](_validator, pattern, value, schema) or ()


def _unique(_validator: Any, unique: Any, value: Any, _schema: Any) -> Iterator[Any]:
    if unique is True and isinstance(value, list):
        seen = {json.dumps(item, sort_keys=True) for item in value}
        if len(seen) != len(value):
            yield ValidationError("twice")


_kept: dict[str, Any] = {}


def _validator() -> Any:
    if "validator" not in _kept:
        ours = {
            "deprecated": _deprecated,
            "anyOf": _any_of,
            "oneOf": _any_of,
            "pattern": _pattern,
            "uniqueItems": _unique,
        }
        _kept["validator"] = extend(Draft4Validator, ours)  # type: ignore[no-untyped-call]
    return _kept["validator"]
