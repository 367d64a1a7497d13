# SPDX-License-Identifier: GPL-3.0-or-later
"""Put a backup in the place of a state folder.

What the service did after the backup is lost to it, and agents have seen it: a restored service must not hand out a
generation that an agent already holds, nor work under an epoch that somebody has met. Both are raised here.

Nothing is put in place before all of it is there and found good. A restore that is killed half-way leaves a mark, which
the service refuses to start on and the next restore starts over from.
"""

import asyncio
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import IO

from sqlalchemy import Connection, update

from openngt import effects
from openngt.errors import OpenNGTError
from openngt.failpoints import failpoint
from openngt.pki.rollover import load_succession

from ..store import audit, schema
from ..store.audit import AuditEntry, AuditLog
from ..store.database import Database, open_database
from ..store.lock import LOCK_FILE, state_lock
from .archive import DATABASE, OPTIONAL, REQUIRED, Description, read_archive

__all__ = ["GENERATIONS_SKIPPED", "require_whole", "restore"]

MARK = "restore.unfinished"
STAGE = ".restore"
ASIDE = "replaced-"
GENERATIONS_SKIPPED = 1000
"""More certificates than one VM is given between a backup and the loss of what followed it."""

# The database comes last: without it there is no service yet.
ORDER = (*(name for name in (*REQUIRED, *OPTIONAL) if name != DATABASE), DATABASE)


def require_whole(state_dir: Path) -> None:
    """SERVICE_CONFLICT when a restore was interrupted here; for a service that wants to start."""
    if (state_dir / MARK).exists():
        raise OpenNGTError(
            "SERVICE_CONFLICT",
            f"a restore into {state_dir} was interrupted",
            remedy="run the same restore again: openngt restore",
        )


def restore(stream: IO[bytes], state_dir: Path, *, replace_state: bool) -> tuple[Description, Path | None]:
    """Fill `state_dir`; -> what was restored (with the new epoch), and where a state that was there before has gone.

    SERVICE_CONFLICT while a service runs there, or when there is a state and `replace_state` does not allow to set it
    aside; BACKUP_DAMAGED; what a newer release has written is SERVICE_CONFLICT, too.
    """
    with state_lock(state_dir), effects.file_errors(str(state_dir)):
        occupied = [name for name in ORDER if (state_dir / name).exists()]
        if occupied and not replace_state and not (state_dir / MARK).exists():
            raise OpenNGTError(
                "SERVICE_CONFLICT",
                f"{state_dir} holds the state of a service: {', '.join(occupied)}",
                remedy="give another state_dir, or --replace, which sets that state aside",
            )
        stage = state_dir / STAGE
        shutil.rmtree(stage, ignore_errors=True)
        stage.mkdir(mode=0o700)
        description = _raised(read_archive(stream, stage), stage)
        failpoint("backup.restore.staged")
        aside = _put_in_place(stage, state_dir)
    return description, aside


def _raised(description: Description, stage: Path) -> Description:
    """The staged state, judged and moved on to its next epoch."""
    if load_succession(stage / "ca").signer.ca_sha256 != description.ca_sha256:
        raise OpenNGTError("BACKUP_DAMAGED", "the backup cannot be used: its CA is not the one that it names")
    database = open_database(f"sqlite:///{stage / DATABASE}", cluster_uuid=description.cluster_uuid)
    try:
        epoch = asyncio.run(_next_epoch(database, description))
    finally:
        database.close()
    return replace(description, epoch=epoch)


async def _next_epoch(database: Database, description: Description) -> int:
    report = await AuditLog(database).verify()
    if report.problem is not None:
        raise OpenNGTError("BACKUP_DAMAGED", f"the backup cannot be used: audit log: {report.problem}")
    epoch = database.identity.epoch + 1

    def write(connection: Connection) -> int:
        connection.execute(update(schema.service).values(epoch=epoch))
        raised = schema.vms.c.generation + GENERATIONS_SKIPPED
        connection.execute(update(schema.vms).values(generation=raised))
        details = {"backup": description.to_dict(), "epoch": epoch}
        audit.append(connection, [AuditEntry("openngt restore", "service.restore", details=details)])
        return epoch

    return await database.write(write)


def _put_in_place(stage: Path, state_dir: Path) -> Path | None:
    mark = state_dir / MARK
    effects.write_private(str(mark), b"")
    failpoint("backup.restore.marked")
    aside = _set_aside(state_dir)
    failpoint("backup.restore.set_aside")
    for name in ORDER:
        if (stage / name).exists():
            (state_dir / name).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            (stage / name).replace(state_dir / name)
    failpoint("backup.restore.placed")
    for folder in sorted({(state_dir / name).parent for name in ORDER if (state_dir / name).exists()}, reverse=True):
        effects.fsync_directory(str(folder))
    shutil.rmtree(stage)
    mark.unlink()
    effects.fsync_directory(str(state_dir))
    return aside


def _set_aside(state_dir: Path) -> Path | None:
    """Everything of the former state goes into one folder: left beside the new database, the log of the old one would
    be taken for its own. What an interrupted restore has put in place goes the same way.
    """
    kept = {MARK, STAGE, LOCK_FILE}
    present = [path for path in state_dir.iterdir() if path.name not in kept and not path.name.startswith(ASIDE)]
    if not present:
        return None
    aside = Path(tempfile.mkdtemp(prefix=f"{ASIDE}{effects.now():%Y%m%dT%H%M%SZ}-", dir=state_dir))
    for path in present:
        path.replace(aside / path.name)
    effects.fsync_directory(str(aside))
    return aside
