# SPDX-License-Identifier: GPL-3.0-or-later
"""A customization as users write it (the API's JSON, the module's options, the CLI's YAML), made a Customization.

Here it is judged by its form alone; whether the guest will understand it is asked by `validation`.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, cast

from ..errors import OpenNGTError
from ..install.fleet.shapes import nearest, shape_of
from .model import DATASOURCES, FORMATS, INSTALL_TYPES, Customization, GuestFile, Json, Script

__all__ = ["FIELDS", "SETTING_FIELDS", "parse"]

FIELDS = (
    "format",
    "scripts",
    "options",
    "network",
    "files",
    "datasource",
    "install_type",
    "instance_id",
    "meta_data",
)
SETTING_FIELDS = ("power_on", "wait_seconds")
"""Of the request, not of the customization: `parse` passes over them."""

SOURCES = ("content", "content_base64", "datastore_path")
SCRIPT_FIELDS = (*SOURCES, "name")
FILE_FIELDS = (*SOURCES, "path", "mode", "owner")
MOST_ITEMS = 100
"""Of scripts, and of files. cloud-init reads them all into memory, one by one."""
MOST_BYTES = 32 << 20
"""Of all contents together; far above what fits in user-data, as files of a config drive stand beside it."""
MOST_DEPTH = 32
MOST_VALUES = 20_000
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._ -]{0,127}")
INSTANCE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
"""cloud-init makes a folder of this name."""
MODE = re.compile(r"0?[0-7]{3,4}")
OWNER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,63})?")


def parse(spec: Mapping[str, Any], read_datastore: Callable[[str], bytes]) -> Customization:
    """INVALID_INPUT for the first thing that is wrong; its field is named as `scripts[1].content`, its value never.

    `read_datastore` is given what stands under `datastore_path`. What it raises is raised on, with the field's name.
    """
    spec = _mapping(spec, "customization")
    _known(spec, (*FIELDS, *SETTING_FIELDS), "")
    contents = _Contents(read_datastore)
    return Customization(
        format=_choice(spec, "format", FORMATS),
        scripts=tuple(_script(item, f"scripts[{n}]", contents) for n, item in enumerate(_items(spec, "scripts"))),
        options=_json(spec, "options"),
        network=None if spec.get("network") is None else _json(spec, "network"),
        files=tuple(_file(item, f"files[{n}]", contents) for n, item in enumerate(_items(spec, "files"))),
        datasource=_choice(spec, "datasource", DATASOURCES),
        install_type=_choice(spec, "install_type", INSTALL_TYPES),
        instance_id=_matching(spec, "instance_id", "instance_id", INSTANCE_ID, None, "letters, digits and . _ : -"),
        meta_data=_json(spec, "meta_data"),
    )


class _Contents:
    """Reads what stands under `content`, `content_base64` or `datastore_path`, and keeps account of the bytes."""

    def __init__(self, read_datastore: Callable[[str], bytes]) -> None:
        self._read_datastore = read_datastore
        self._left = MOST_BYTES

    def of(self, item: Mapping[str, Any], field: str) -> bytes:
        given = [name for name in SOURCES if item.get(name) is not None]
        if len(given) != 1:
            _refuse(field, f"has {' and '.join(given) or 'no content'}; give one of {', '.join(SOURCES)}")
        [source] = given
        content = self._bytes(source, item[source], f"{field}.{source}")
        self._left -= len(content)
        if self._left < 0:
            _refuse(f"{field}.{source}", f"takes scripts and files above {MOST_BYTES} bytes together")
        return content

    def _bytes(self, source: str, value: Any, field: str) -> bytes:
        text = _text(value, field)
        if source == "content":
            return text.encode()
        if source == "content_base64":
            return _decoded(text, field)
        try:
            return self._read_datastore(text)
        except OpenNGTError as exc:
            raise OpenNGTError(
                exc.code, f"{field}: {exc.message}", {**exc.details, "field": field}, exc.remedy
            ) from exc


def _script(item: Any, field: str, contents: _Contents) -> Script:
    item = _mapping(item, field)
    _known(item, SCRIPT_FIELDS, field)
    name = _matching(item, "name", f"{field}.name", NAME, "", "a file name without a folder")
    return Script(contents.of(item, field), name or "")


def _file(item: Any, field: str, contents: _Contents) -> GuestFile:
    item = _mapping(item, field)
    _known(item, FILE_FIELDS, field)
    if item.get("path") is None:
        _refuse(f"{field}.path", "is missing")
    path = _text(item["path"], f"{field}.path")
    mode = _matching(item, "mode", f"{field}.mode", MODE, GuestFile.mode, "octal digits in quotes, as '0644'")
    owner = _matching(item, "owner", f"{field}.owner", OWNER, GuestFile.owner, "user:group")
    return GuestFile(path, contents.of(item, field), mode or GuestFile.mode, owner or GuestFile.owner)


def _choice(spec: Mapping[str, Any], field: str, choices: Sequence[str]) -> Any:
    value = spec.get(field)
    if value is None:
        return choices[0]
    if value not in choices:
        _refuse(field, f"is {shape_of(value)} that is none of {', '.join(choices)}")
    return value


def _items(spec: Mapping[str, Any], field: str) -> Sequence[Any]:
    value = spec.get(field)
    if value is None:
        return ()
    if not isinstance(value, (list, tuple)):
        _refuse(field, f"is {shape_of(value)}; a list is wanted")
    if len(value) > MOST_ITEMS:
        _refuse(field, f"is {shape_of(value)}; at most {MOST_ITEMS} will do")
    return value


def _mapping(value: Any, field: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        _refuse(field, f"is {shape_of(value)}; a mapping is wanted")
    return cast(Mapping[str, Any], value)


def _known(item: Mapping[str, Any], fields: Sequence[str], prefix: str) -> None:
    for name in item:
        if name in fields:
            continue
        if not isinstance(name, str) or not name.isidentifier() or len(name) > 40:
            _refuse(prefix or "customization", f"has a key that is none of {', '.join(fields)}")
        meant = nearest(name, fields)
        hint = f"did you mean {meant}?" if meant else f"there are {', '.join(fields)}"
        _refuse(f"{prefix}.{name}" if prefix else name, f"is not known; {hint}")


def _matching(
    item: Mapping[str, Any], key: str, field: str, pattern: re.Pattern[str], default: str | None, wanted: str
) -> str | None:
    value = item.get(key)
    if value is None:
        return default
    if not isinstance(value, str) or not pattern.fullmatch(value):
        _refuse(field, f"is {shape_of(value)}; wanted: {wanted}")
    return value


def _text(value: Any, field: str) -> str:
    if not isinstance(value, str):
        _refuse(field, f"is {shape_of(value)}; text is wanted")
    if not _encodable(value):
        _refuse(field, "holds half of a surrogate pair, which no file can hold")
    return value


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _decoded(text: str, field: str) -> bytes:
    content = _from_base64(text)
    if content is None:
        _refuse(field, "is not base64 with its padding")
    return content


def _from_base64(text: str) -> bytes | None:
    """None for what is not: the error is not let out, as some hold the text."""
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except ValueError:
        return None


def _json(spec: Mapping[str, Any], field: str) -> Json:
    value = spec.get(field)
    if value is None:
        return {}
    copy = _Values().copy(_mapping(value, field), field, MOST_DEPTH)
    return cast(Json, copy)


class _Values:
    """Copies plain JSON values, so that no one else can change them later, within bounds of depth and number."""

    def __init__(self) -> None:
        self._left = MOST_VALUES

    def copy(self, value: Any, field: str, depth: int) -> Any:
        self._left -= 1
        if self._left < 0 or depth == 0:
            _refuse(field, "is nested too deeply" if depth == 0 else f"has more than {MOST_VALUES} values")
        if value is None or isinstance(value, (bool, int)):
            return value
        if isinstance(value, str):
            return _text(value, field)
        if isinstance(value, float):
            if not math.isfinite(value):
                _refuse(field, "is a number without end")
            return value
        if isinstance(value, (list, tuple)):
            return [self.copy(item, f"{field}[{n}]", depth - 1) for n, item in enumerate(value)]
        if not isinstance(value, Mapping):
            _refuse(field, f"is {shape_of(value)}; text, a number, true or false, a list or a mapping is wanted")
        found = {}
        for key, item in value.items():
            if not isinstance(key, str) or not key or len(key) > 256 or not _encodable(key):
                _refuse(field, f"has a key that is {shape_of(key)}; short text is wanted")
            found[key] = self.copy(item, f"{field}.{key}", depth - 1)
        return found


def _refuse(field: str, what: str) -> NoReturn:
    raise OpenNGTError("INVALID_INPUT", f"{field} {what}", {"field": field})
