# SPDX-License-Identifier: GPL-3.0-or-later
"""Write a report's files: judge all targets, plan, then all of them or none.

A file that says what the report says is left alone, its own time in it included, so a second run changes nothing.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..effects import file_errors, fsync_directory
from ..errors import OpenNGTError
from .page import page_text
from .plain import csv_text, json_text

__all__ = ["FORMATS", "MODE", "Form", "Planned", "Target", "apply", "differing", "mode_of", "plan", "targets_of"]

Json = dict[str, Any]
Form = Literal["json", "csv", "html"]
FORMATS: Mapping[Form, Callable[[Json], str]] = {"json": json_text, "csv": csv_text, "html": page_text}
MODE = 0o640
"""A report names every VM and what is wrong with it: not for everybody on this host unless somebody says so."""
SHOWN_LINES = 100

DATED: Mapping[str, re.Pattern[bytes]] = {
    "json": re.compile(rb'^"generated_at": "[^"]*"', re.MULTILINE),
    "html": re.compile(rb'<time id="generated"[^<]*</time>'),
}
"""Where a file says when it was made; a CSV does not."""


@dataclass(frozen=True)
class Target:
    """`path` is absolute, links followed."""

    form: Form
    path: Path
    mode: int = MODE


@dataclass(frozen=True)
class Planned:
    target: Target
    content: bytes
    before: bytes | None
    """None where there is no file yet."""
    reason: Literal["missing", "content", "mode", "unchanged"]
    mode_before: int | None = None

    @property
    def changed(self) -> bool:
        return self.reason != "unchanged"


def targets_of(paths: Mapping[Form, str | None], mode: int = MODE) -> list[Target]:
    """Those that are given; nothing is written yet.

    INVALID_INPUT where two are one file, FILE_UNUSABLE or PERMISSION_DENIED where one cannot be written.
    """
    targets = [Target(form, Path(path).resolve(), mode) for form, path in paths.items() if path is not None]
    for target in targets:
        with file_errors(str(target.path)):
            require_writable(target.path)
    for number, one in enumerate(targets):
        for other in targets[:number]:
            if is_same(one.path, other.path):
                raise OpenNGTError("INVALID_INPUT", f"{other.form} and {one.form} are one file: {one.path}")
    return targets


def mode_of(value: Any) -> int:
    """A file's mode as people give it, `"0640"`, or as the number that YAML makes of 0640. INVALID_INPUT."""
    try:
        mode = value if isinstance(value, int) and not isinstance(value, bool) else int(str(value), 8)
    except ValueError as exc:
        raise OpenNGTError("INVALID_INPUT", "mode: give octal digits in quotes, as '0640'") from exc
    if mode & 0o600 != 0o600 or not 0 <= mode <= 0o777:
        raise OpenNGTError("INVALID_INPUT", f"mode: give one that lets the owner read and write, not {mode:04o}")
    return mode


def require_writable(path: Path) -> None:
    if path.exists() and not path.is_file():
        what = "a folder" if path.is_dir() else "no regular file"
        raise OpenNGTError("FILE_UNUSABLE", f"{path} is {what}", {"path": str(path)})
    if not path.parent.is_dir():
        raise OpenNGTError("FILE_UNUSABLE", f"{path}: there is no folder {path.parent}", {"path": str(path)})
    if not os.access(path.parent, os.W_OK | os.X_OK, effective_ids=True):
        message = f"{path}: {path.parent} cannot be written to"
        raise OpenNGTError("PERMISSION_DENIED", message, {"path": str(path)})


def is_same(one: Path, other: Path) -> bool:
    return one == other or (one.exists() and other.exists() and one.samefile(other))


def plan(targets: Sequence[Target], report: Json) -> list[Planned]:
    """What each file would become. Reads the files that are there."""
    planned = []
    for target in targets:
        # A name may hold half a surrogate pair, which is no character and has no bytes.
        content = FORMATS[target.form](report).encode("utf-8", "replace")
        with file_errors(str(target.path)):
            planned.append(judged(target, content))
    return planned


def judged(target: Target, content: bytes) -> Planned:
    if not target.path.exists():
        return Planned(target, content, None, "missing")
    before, mode = target.path.read_bytes(), stat.S_IMODE(target.path.stat().st_mode)
    if undated(target.form, before) != undated(target.form, content):
        return Planned(target, content, before, "content", mode)
    return Planned(target, before, before, "unchanged" if mode == target.mode else "mode", mode)


def undated(form: Form, content: bytes) -> bytes:
    return DATED[form].sub(b"", content, count=1) if form in DATED else content


def apply(planned: Sequence[Planned]) -> None:
    """Write those that change. All are complete on the disk before the first one takes its place."""
    due = [one for one in planned if one.changed]
    with contextlib.ExitStack() as unfinished:
        ready = [(stage(one, unfinished), one.target.path) for one in due]
        for temporary, path in ready:
            with file_errors(str(path)):
                temporary.replace(path)
    for folder in {str(one.target.path.parent) for one in due}:
        with file_errors(folder):
            fsync_directory(folder)


def stage(one: Planned, unfinished: contextlib.ExitStack) -> Path:
    """The content, complete, beside its target. mkstemp starts at 0600, and a wider mode is given last."""
    path = one.target.path
    with file_errors(str(path)):
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        temporary = Path(name)
        unfinished.callback(temporary.unlink, missing_ok=True)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(one.content)
            stream.flush()
            os.fchmod(stream.fileno(), one.target.mode)
            os.fsync(stream.fileno())
    return temporary


def differing(one: Planned) -> tuple[str, str]:
    """Lines before and after that the other does not have, at most a hundred each: a fleet has thousands."""
    before, after = ((one.before or b"").decode("utf-8", "replace"), one.content.decode("utf-8", "replace"))
    return only_in(before, after), only_in(after, before)


def only_in(text: str, other: str) -> str:
    known = set(other.split("\n"))
    found = [line for line in text.split("\n") if line not in known]
    rest = len(found) - SHOWN_LINES
    shown = found[:SHOWN_LINES] + ([f"… and {rest} lines more"] if rest > 0 else [])
    return "".join(f"{line}\n" for line in shown)
