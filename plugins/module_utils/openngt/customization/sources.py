# SPDX-License-Identifier: GPL-3.0-or-later
"""From what a person writes to what the service takes: files of the controller (`src`) become their content."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import OpenNGTError
from .spec import NAME

__all__ = ["Read", "needs_datastore", "read_beside", "resolve"]

Json = dict[str, Any]
FORMS = ("content", "content_base64", "src", "datastore_path")
"""The ways to give a script or a file; each has one of them."""

Read = Callable[[str, str], bytes]
"""(what `src` says, the field's name for a message) -> the file. Raises INVALID_INPUT."""


def resolve(spec: Mapping[str, Any], read: Read) -> Json:
    """The spec in the API's form. Keys without a value (null) are left out; all else is the service's to judge.

    INVALID_INPUT names the field, and never a content.
    """
    found = {name: value for name, value in spec.items() if value is not None}
    for part in ("scripts", "files"):
        if part in found:
            found[part] = [_resolved(f"{part}[{n}]", item, read) for n, item in enumerate(_list(part, found[part]))]
    return found


def needs_datastore(spec: Mapping[str, Any]) -> bool:
    """Whether only the service can read all of it."""
    items = [item for part in ("scripts", "files") for item in spec.get(part) or ()]
    return any(isinstance(item, Mapping) and item.get("datastore_path") for item in items)


def read_beside(folder: Path) -> Read:
    """A reader for paths that are relative to the folder, as those in a file are to the file's own."""

    def read(src: str, field: str) -> bytes:
        try:
            return (folder / src).read_bytes()
        except (OSError, ValueError) as exc:
            why = exc.strerror if isinstance(exc, OSError) else "no path"
            raise OpenNGTError("INVALID_INPUT", f"{field}: {src} cannot be read: {why}") from exc

    return read


def _list(part: str, value: Any) -> Sequence[Any]:
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return value
    raise OpenNGTError("INVALID_INPUT", f"{part} has to be a list, not {type(value).__name__}")


def _resolved(field: str, item: Any, read: Read) -> Json:
    if not isinstance(item, Mapping):
        raise OpenNGTError("INVALID_INPUT", f"{field} has to be a mapping, not {type(item).__name__}")
    found = {name: value for name, value in item.items() if value is not None}
    given = [form for form in FORMS if form in found]
    if len(given) != 1:
        what = " and ".join(given) or "none of them"
        raise OpenNGTError("INVALID_INPUT", f"{field}: give one of {', '.join(FORMS)}; there is {what}")
    if "src" in found:
        src = found.pop("src")
        if not isinstance(src, str) or not src:
            raise OpenNGTError("INVALID_INPUT", f"{field}.src has to be a path")
        found["content_base64"] = base64.b64encode(read(src, f"{field}.src")).decode()
        if field.startswith("scripts") and NAME.fullmatch(Path(src).name):
            found.setdefault("name", Path(src).name)
    return found
