# SPDX-License-Identifier: GPL-3.0-or-later
"""`manifest.json`: what a disc holds and for whom; its digest stands in the VM's certificate.

The format is in ARCHITECTURE.md, section 3. It is written in canonical form, and read as what a stranger made: whatever
is not exactly a manifest is DISC_INVALID.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, get_args

from ..errors import OpenNGTError
from .layout import CA, CLIENT, CONFIG, EXTRAS, MANIFEST, MOST_BYTES, MOST_FILES, SLOTS, IsoKind, check_paths

__all__ = [
    "FORMAT",
    "ROLLBACK_SECONDS",
    "FileEntry",
    "Manifest",
    "Upgrade",
    "canonical_json",
    "format_time",
    "parse_json_object",
    "parse_manifest",
]

FORMAT = "openngt-manifest-1"

MOST_DEPTH = 8
ROLLBACK_SECONDS = (5, 3600)
"""How long an agent may be given to prove itself, at least and at most."""
LONGEST_NUMBER = 18
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
SHA256 = re.compile(r"[0-9a-f]{64}")
# It becomes the name of a folder in the guest, beside the link `current`.
VERSION = re.compile(r"[0-9][0-9A-Za-z.+_-]{0,63}")
# Strings, also one without its end, and all else that is no bracket. It matches wherever it starts, so it is linear.
NO_BRACKETS = re.compile(r'"(?:[^"\\]++|\\.?)*+"?|[^][{}"]++', re.DOTALL)
TIME = "%Y-%m-%dT%H:%M:%SZ"
TIME_FORM = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")


@dataclass(frozen=True)
class FileEntry:
    """A file as the manifest names it; of a slot, the content without its padding."""

    path: str
    size: int
    sha256: str

    @classmethod
    def of(cls, path: str, content: bytes) -> FileEntry:
        return cls(path, len(content), hashlib.sha256(content).hexdigest())


@dataclass(frozen=True)
class Upgrade:
    """What a disc says that wants the running agent to change over to its own."""

    id: str
    """UUID by which the agent reports what became of it."""
    allow_downgrade: bool = False
    rollback_seconds: int = 120


@dataclass(frozen=True)
class Manifest:
    vm_uuid: str
    ngt_uuid: str
    cluster_uuid: str
    generation: int
    kind: IsoKind
    ngt_version: str
    created: datetime.datetime
    expires: datetime.datetime
    ca_sha256: str
    files: tuple[FileEntry, ...]
    """Sorted by path; every file of the disc but `manifest.json` and `config/client.pem`."""
    upgrade: Upgrade | None = None

    def to_bytes(self) -> bytes:
        """Canonical form. What is written can be read back: the values go through the same checks as a stranger's.

        INVALID_INPUT names the field that does not pass; ISO_TOO_LARGE when the manifest does not fit its slot.
        """
        content = canonical_json(
            {
                **{name: value for name, value in vars(self).items() if name != "upgrade"},
                **({} if self.upgrade is None else {"upgrade": vars(self.upgrade)}),
                "files": [vars(entry) for entry in self.files],
                "format": FORMAT,
                "created": format_time(self.created),
                "expires": format_time(self.expires),
            }
        )
        if len(content) > SLOTS[MANIFEST]:
            raise OpenNGTError(
                "ISO_TOO_LARGE",
                f"{MANIFEST} needs {len(content)} bytes for {len(self.files)} files, its slot has {SLOTS[MANIFEST]}",
                {"path": MANIFEST, "size": len(content), "slot": SLOTS[MANIFEST]},
            )
        try:
            parse_manifest(content)
        except OpenNGTError as exc:
            raise OpenNGTError("INVALID_INPUT", exc.message, exc.details) from exc
        return content


def canonical_json(value: Mapping[str, Any]) -> bytes:
    """UTF-8, sorted keys, no spaces, no trailing newline."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def format_time(time: datetime.datetime) -> str:
    """RFC 3339 in UTC, whole seconds."""
    return time.astimezone(datetime.UTC).strftime(TIME)


def parse_json_object(content: bytes, name: str, most_bytes: int) -> dict[str, Any]:
    """Parse hostile JSON in bounded time and memory; `name` is what a DISC_INVALID calls it.

    Refused: more than `most_bytes`, deep nesting, duplicate keys, NaN and infinities, fractions, huge numbers, text
    that is no Unicode, and any top value but an object.
    """
    if len(content) > most_bytes:
        raise _refusal(f"{name} has more than {most_bytes} bytes")
    try:
        text = content.decode()
    except UnicodeDecodeError as exc:
        raise _refusal(f"{name} is not UTF-8") from exc
    if _depth(text) > MOST_DEPTH:
        raise _refusal(f"{name} is nested deeper than {MOST_DEPTH} levels")
    decoder = json.JSONDecoder(
        object_pairs_hook=lambda pairs: _distinct(name, pairs),
        parse_int=lambda digits: _short_integer(name, digits),
        parse_float=lambda _: _refuse(f"{name} holds a fraction"),
        parse_constant=lambda constant: _refuse(f"{name} holds {constant}"),
    )
    try:
        value = decoder.decode(text)
    except json.JSONDecodeError as exc:
        raise _refusal(f"{name} is not JSON: {exc.msg} at character {exc.pos}") from exc
    if not isinstance(value, dict):
        raise _refusal(f"{name} is not a JSON object")
    return value


def parse_manifest(content: bytes) -> Manifest:
    """Read an unpadded manifest; DISC_INVALID names the field. Unknown fields are ignored, an unknown format is not."""
    values = parse_json_object(content, MANIFEST, SLOTS[MANIFEST])
    if values.get("format") != FORMAT:
        raise _refusal(f"{MANIFEST}: format is not {FORMAT}", "format")
    kind = _member(values, "kind")
    created, expires = _time(values, "created"), _time(values, "expires")
    if expires <= created:
        raise _refusal(f"{MANIFEST}: expires is not after created", "expires")
    return Manifest(
        vm_uuid=_text(values, "vm_uuid", UUID),
        ngt_uuid=_text(values, "ngt_uuid", UUID),
        cluster_uuid=_text(values, "cluster_uuid", UUID),
        generation=_integer(values, "generation", at_least=1),
        kind=kind,
        ngt_version=_text(values, "ngt_version", VERSION),
        created=created,
        expires=expires,
        ca_sha256=_text(values, "ca_sha256", SHA256),
        files=_files(values, kind),
        upgrade=_upgrade(values),
    )


def _upgrade(values: Mapping[str, Any]) -> Upgrade | None:
    wish = values.get("upgrade")
    if wish is None:
        return None
    if not isinstance(wish, dict):
        raise _refusal(f"{MANIFEST}: upgrade is not an object", "upgrade")
    if not isinstance(wish.get("allow_downgrade"), bool):
        raise _refusal(f"{MANIFEST}: upgrade.allow_downgrade is not true or false", "upgrade.allow_downgrade")
    least, most = ROLLBACK_SECONDS
    seconds = _integer(wish, "rollback_seconds", at_least=least, within="upgrade")
    if seconds > most:
        raise _refusal(f"{MANIFEST}: upgrade.rollback_seconds is more than {most}", "upgrade.rollback_seconds")
    return Upgrade(_text(wish, "id", UUID, within="upgrade"), wish["allow_downgrade"], seconds)


def _files(values: Mapping[str, Any], kind: IsoKind) -> tuple[FileEntry, ...]:
    rows = values.get("files")
    if not isinstance(rows, list) or len(rows) > MOST_FILES:
        raise _refusal(f"{MANIFEST}: files is not a list of at most {MOST_FILES}", "files")
    files = tuple(_file(row, f"files[{number}]") for number, row in enumerate(rows))
    paths = [entry.path for entry in files]
    # The two files that the list cannot name take part, so that nothing can stand in their place either.
    check_paths([*paths, MANIFEST, CLIENT], "DISC_INVALID", "files")
    if paths != sorted(paths):
        raise _refusal(f"{MANIFEST}: files is not sorted by path", "files")
    for path in (CONFIG, CA):
        if path not in paths:
            raise _refusal(f"{MANIFEST}: files does not name {path}", "files")
    for entry in files:
        if kind == "config" and entry.path not in SLOTS:
            raise _refusal(f"{MANIFEST}: files names {entry.path!a} on a disc of kind config", "files")
        most = SLOTS.get(entry.path, MOST_BYTES)
        if entry.size > most and not entry.path.startswith(EXTRAS):
            raise _refusal(f"{MANIFEST}: {entry.path!a} has more than {most} bytes", "files")
    return files


def _file(row: object, field: str) -> FileEntry:
    if not isinstance(row, dict):
        raise _refusal(f"{MANIFEST}: {field} is not an object", field)
    path = row.get("path")
    if not isinstance(path, str):
        raise _refusal(f"{MANIFEST}: {field}.path is not a text", f"{field}.path")
    return FileEntry(path, _integer(row, "size", at_least=0, within=field), _text(row, "sha256", SHA256, within=field))


def _member(values: Mapping[str, Any], name: str) -> IsoKind:
    for kind in get_args(IsoKind):
        if values.get(name) == kind:
            return kind  # type: ignore[no-any-return]  # get_args() has no types
    raise _refusal(f"{MANIFEST}: {name} is not one of {', '.join(get_args(IsoKind))}", name)


def _text(values: Mapping[str, Any], name: str, form: re.Pattern[str], within: str = "") -> str:
    value = values.get(name)
    if not isinstance(value, str) or form.fullmatch(value) is None:
        field = f"{within}.{name}" if within else name
        raise _refusal(f"{MANIFEST}: {field} is missing or not of its form", field)
    return value


def _integer(values: Mapping[str, Any], name: str, *, at_least: int, within: str = "") -> int:
    value = values.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value < at_least:
        field = f"{within}.{name}" if within else name
        raise _refusal(f"{MANIFEST}: {field} is missing or not an integer of {at_least} or more", field)
    return value


def _time(values: Mapping[str, Any], name: str) -> datetime.datetime:
    text = _text(values, name, TIME_FORM)
    try:
        return datetime.datetime.fromisoformat(text)
    except ValueError as exc:
        raise _refusal(f"{MANIFEST}: {name} is no time of the calendar", name) from exc


def _depth(text: str) -> int:
    """Deepest nesting of brackets outside strings: looked at first, as the parser recurses."""
    depth = deepest = 0
    for bracket in NO_BRACKETS.sub("", text):
        depth += 1 if bracket in "[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _distinct(name: str, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise _refusal(f"{name} says a key twice")
    return values


def _short_integer(name: str, digits: str) -> int:
    if len(digits) > LONGEST_NUMBER:
        raise _refusal(f"{name} holds a number of more than {LONGEST_NUMBER} digits")
    return int(digits)


def _refusal(message: str, field: str | None = None) -> OpenNGTError:
    return OpenNGTError("DISC_INVALID", message, {"field": field} if field else {})


def _refuse(message: str) -> NoReturn:
    raise _refusal(message)
