# SPDX-License-Identifier: GPL-3.0-or-later
"""The file that a backup is: a gzipped tar whose first member, `backup.json`, says what the others hold.

Members have fixed names and are judged by their digests before anything of them is used. Paths of the archive are
never followed: a forged one can name no other file.
"""

import dataclasses
import datetime
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Self

from openngt import effects
from openngt.errors import OpenNGTError

__all__ = ["DATABASE", "FORMAT", "OPTIONAL", "REQUIRED", "Description", "read_archive", "write_archive"]

FORMAT = "openngt-backup-1"
DESCRIPTION = "backup.json"
DATABASE = "openngt.db"
REQUIRED = (DATABASE, "ca/ca.pem", "ca/ca.key")
OPTIONAL = (
    "ca/issued.jsonl",
    "ca/cross.pem",
    "ca/rollover.json",
    "ca/next/ca.pem",
    "ca/next/ca.key",
    "ca/next/cross.pem",
    "admin.token",
)
MAXIMUM_DESCRIPTION = 65536
BLOCK = 1024 * 1024

Rows = Mapping[str, Mapping[str, Any]]
"""Member name -> `{"size", "sha256"}`."""


@dataclass(frozen=True)
class Description:
    """What a person wants to know of a backup before it is restored."""

    created: datetime.datetime
    version: str
    cluster_uuid: str
    ca_sha256: str
    epoch: int
    vms_enrolled: int

    def to_dict(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self), "created": self.created.isoformat(timespec="seconds")}

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """ValueError, KeyError or TypeError for anything else than `to_dict` makes."""
        fields = {field.name: values[field.name] for field in dataclasses.fields(cls)}
        return cls(**{**fields, "created": datetime.datetime.fromisoformat(fields["created"])})


def write_archive(stream: IO[bytes], description: Description, files: Mapping[str, Path]) -> None:
    """`files`: member name -> the file to take, which nobody changes meanwhile."""
    rows = {name: {"size": path.stat().st_size, "sha256": _digest(path)} for name, path in files.items()}
    head = json.dumps({"format": FORMAT, **description.to_dict(), "files": rows}, indent=1).encode()
    with tarfile.open(fileobj=stream, mode="w|gz") as archive:
        archive.addfile(_member(DESCRIPTION, len(head)), io.BytesIO(head))
        for name, path in files.items():
            with path.open("rb") as source:
                archive.addfile(_member(name, path.stat().st_size), source)


def read_archive(stream: IO[bytes], folder: Path | None = None) -> Description:
    """Read to the end and check every member; with `folder` the members are left in it (0600), durable.

    BACKUP_DAMAGED names the member: then nothing of what is in `folder` may be used.
    """
    try:
        with tarfile.open(fileobj=stream, mode="r|gz") as archive:
            description, rows = _description(archive)
            seen = {_take(archive, member, rows, folder) for member in iter(archive.next, None)}
    except (tarfile.TarError, EOFError) as exc:
        raise _damaged(f"it is cut short or no backup: {exc}") from exc
    missing = {*rows, *REQUIRED} - seen
    if missing:
        raise _damaged(f"{', '.join(sorted(missing))} is missing")
    return description


def _member(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o600
    return member


def _description(archive: tarfile.TarFile) -> tuple[Description, Rows]:
    member = archive.next()
    if member is None or member.name != DESCRIPTION or member.size > MAXIMUM_DESCRIPTION:
        raise _damaged(f"it does not begin with {DESCRIPTION}")
    stream = archive.extractfile(member)
    try:
        values = json.load(stream) if stream is not None else {}
        if values["format"] != FORMAT:
            raise _damaged(f"its format is {values['format']!r}, this release reads {FORMAT}")
        rows = {name: {"size": int(row["size"]), "sha256": str(row["sha256"])} for name, row in values["files"].items()}
        return Description.of(values), rows
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise _damaged(f"{DESCRIPTION} cannot be read") from exc


def _take(archive: tarfile.TarFile, member: tarfile.TarInfo, rows: Rows, folder: Path | None) -> str:
    row = rows.get(member.name)
    source = archive.extractfile(member) if member.isfile() else None
    if row is None or source is None or member.name not in {*REQUIRED, *OPTIONAL}:
        raise _damaged(f"it holds {member.name!r}, which belongs to no backup")
    target = Path(os.devnull) if folder is None else folder / member.name
    if _copy(source, target) != row["sha256"] or member.size != row["size"]:
        raise _damaged(f"{member.name} was altered")
    return member.name


def _copy(source: IO[bytes], target: Path) -> str:
    """SHA-256 of what was copied; 0600 from before the first byte on."""
    digest = hashlib.sha256()
    with effects.file_errors(str(target)):
        if target != Path(os.devnull):
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600), "wb") as copy:
            while block := source.read(BLOCK):
                digest.update(block)
                copy.write(block)
            copy.flush()
            if target != Path(os.devnull):
                os.fsync(copy.fileno())
    return digest.hexdigest()


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _damaged(what: str) -> OpenNGTError:
    return OpenNGTError("BACKUP_DAMAGED", f"the backup cannot be used: {what}")
