# SPDX-License-Identifier: GPL-3.0-or-later
"""How far a fleet's installation is, on disk, so that a run that is killed goes on where it was.

`journal.jsonl` (0600, in a folder 0700): one JSON object a line, each fsynced before the work goes on. First

    {"format": "openngt-fleet-1", "began": RFC 3339, "endpoint": URL, "targets": [[name, vm], ...]}

then, as they come, `{"name", "phase", "at", "seconds"}` for the end of a phase and `{"row": {...}}` for the end of a
guest, and last `{"finished": RFC 3339}`. A last line without its end is torn by a crash and says nothing. A row is what
the report holds; nothing of a login is ever written.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ...effects import file_errors, now
from ...errors import OpenNGTError
from .report import Row
from .target import Target

__all__ = ["Journal", "default_folder", "open_journal"]

Json = dict[str, Any]
FORMAT = "openngt-fleet-1"
FILE = "journal.jsonl"
STATE_HOME = "~/.local/state"


def default_folder(endpoint: str, targets: Sequence[Target]) -> Path:
    """The folder of the same guests and the same service, whenever they are asked for."""
    named = json.dumps([endpoint, sorted([target.name, target.vm] for target in targets)])
    state = os.environ.get("XDG_STATE_HOME") or STATE_HOME
    return Path(state).expanduser() / "openngt/fleet" / hashlib.sha256(named.encode()).hexdigest()[:16]


class Journal:
    """One run's, for many threads. `finished_rows` are those of the interrupted run that this one goes on with.

    What cannot be written stops no installation: `error` tells of it.
    """

    def __init__(self, folder: Path, descriptor: int, finished_rows: Sequence[Row]) -> None:
        self.folder = folder
        self.finished_rows = finished_rows
        self.error: OpenNGTError | None = None
        self._descriptor = descriptor
        self._writing, self._syncing = threading.Lock(), threading.Lock()
        self._written = self._synced = 0

    def phase(self, name: str, phase: str, seconds: float) -> None:
        self.write({"name": name, "phase": phase, "at": _time(), "seconds": round(seconds, 3)})

    def row(self, row: Row) -> None:
        self.write({"row": row.to_dict()})

    def finished(self) -> None:
        self.write({"finished": _time()})

    def write(self, entry: Json) -> None:
        """Durable when this returns. Threads that write at the same time share one fsync."""
        if self.error is not None:
            return
        try:
            with file_errors(str(self.folder / FILE)):
                self._append(json.dumps(entry).encode("ascii") + b"\n")
        except OpenNGTError as error:
            self.error = error

    def _append(self, line: bytes) -> None:
        with self._writing:
            _write_all(self._descriptor, line)
            self._written += 1
            mine = self._written
        with self._syncing:
            if self._synced < mine:
                written = self._written
                os.fsync(self._descriptor)
                self._synced = written


@contextlib.contextmanager
def open_journal(folder: Path, endpoint: str, targets: Sequence[Target], *, resume: bool) -> Iterator[Journal]:
    """The journal of this run. SERVICE_CONFLICT while another run has it; INVALID_INPUT where it is another fleet's.

    With `resume` an unfinished one is continued; a finished one is begun anew.
    """
    descriptor = _open(folder)
    try:
        _lock(descriptor, folder)
        entries, end = _read(folder / FILE)
        head = {"endpoint": endpoint, "targets": sorted([target.name, target.vm] for target in targets)}
        rows: list[Row] = []
        with file_errors(str(folder / FILE)):
            if resume and _is_unfinished(entries, head, folder):
                os.ftruncate(descriptor, end)
                rows = [row for entry in entries if (row := _row_of(entry)) is not None]
            else:
                os.ftruncate(descriptor, 0)
        journal = Journal(folder, descriptor, rows)
        journal.write({"format": FORMAT, "began": _time(), **head})
        yield journal
    finally:
        os.close(descriptor)


def _open(folder: Path) -> int:
    try:
        with file_errors(str(folder)):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            return os.open(folder / FILE, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    except OpenNGTError as error:
        error.remedy = "give as journal a folder that you may write to"
        raise


def _lock(descriptor: int, folder: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        message = f"another run works on these guests: it has the journal {folder}"
        raise OpenNGTError(
            "SERVICE_CONFLICT", message, {"journal": str(folder)}, remedy="wait for its end, or stop it"
        ) from exc


def _read(path: Path) -> tuple[list[Json], int]:
    """The whole lines, and where they end."""
    with file_errors(str(path)):
        content = path.read_bytes()
    end = content.rfind(b"\n") + 1
    entries = []
    for line in content[:end].splitlines():
        try:
            entry = json.loads(line)
        except ValueError:  # a block that a power cut left: no run relies on what it cannot read
            continue
        if isinstance(entry, dict):
            entries.append(entry)
    return entries, end


def _is_unfinished(entries: Sequence[Json], head: Json, folder: Path) -> bool:
    heads = [entry for entry in entries if entry.get("format") == FORMAT]
    if not heads or "finished" in entries[-1]:
        return False
    if any(heads[-1].get(key) != value for key, value in head.items()):
        message = f"{folder} is the journal of an unfinished run with other guests or another service"
        remedy = "give another folder as journal, or begin anew in this one: resume: false"
        raise OpenNGTError("INVALID_INPUT", message, {"journal": str(folder)}, remedy)
    return True


def _row_of(entry: Json) -> Row | None:
    told = entry.get("row")
    if not isinstance(told, dict):
        return None
    try:
        return Row(**told)
    except TypeError:  # of another version of this program: that guest is looked at again
        return None


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _time() -> str:
    return now().isoformat(timespec="milliseconds").replace("+00:00", "Z")
