# SPDX-License-Identifier: GPL-3.0-or-later
"""Take a backup of a state folder, while its service runs or not."""

import contextlib
import fcntl
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from openngt import effects
from openngt.errors import OpenNGTError
from openngt.pki.rollover import held_still
from openngt.version import __version__

from .archive import DATABASE, OPTIONAL, REQUIRED, Description, write_archive

__all__ = ["back_up"]

PREFIX = ".backup-"


def back_up(state_dir: Path, stream: IO[bytes]) -> Description:
    """Write a backup of this moment. The service goes on: SQLite hands out one consistent copy of a living database.

    Server certificates, ISOs and the template cache are left out: a restored service makes them anew.
    INVALID_INPUT where there is no service's state, PERMISSION_DENIED, NO_SPACE, STORE_FAILED.
    """
    with effects.file_errors(str(state_dir)):
        for name in REQUIRED:
            if not (state_dir / name).exists():
                raise OpenNGTError(
                    "INVALID_INPUT",
                    f"{state_dir} has no {name}: there is nothing to back up",
                    remedy="give the state_dir of a service that has been started; "
                    "a database on PostgreSQL is backed up with pg_dump",
                )
        with _one_at_a_time(state_dir), tempfile.TemporaryDirectory(prefix=PREFIX, dir=state_dir) as folder:
            database = Path(folder) / DATABASE
            _copy_database(state_dir / DATABASE, database)
            with held_still(state_dir / "ca") as succession:
                description = _describe(database, succession.signer.ca_sha256)
                files = {name: state_dir / name for name in (*REQUIRED, *OPTIONAL) if (state_dir / name).exists()}
                write_archive(stream, description, {**files, DATABASE: database})
    return description


@contextlib.contextmanager
def _one_at_a_time(state_dir: Path) -> Iterator[None]:
    """Whoever has the turn removes what a killed backup has left: a copy of the whole database."""
    descriptor = os.open(state_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        for left in state_dir.glob(f"{PREFIX}*"):
            shutil.rmtree(left)
        yield
    finally:
        os.close(descriptor)


def _copy_database(source: Path, target: Path) -> None:
    try:
        with contextlib.closing(sqlite3.connect(source)) as living, contextlib.closing(sqlite3.connect(target)) as copy:
            living.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")  # one file, without a log beside it
    except sqlite3.Error as exc:
        raise OpenNGTError("STORE_FAILED", f"{source} cannot be copied: {exc}") from exc


def _describe(database: Path, ca_sha256: str) -> Description:
    with contextlib.closing(sqlite3.connect(database)) as copy:
        cluster_uuid, epoch = copy.execute("SELECT cluster_uuid, epoch FROM service").fetchone()
        (vms_enrolled,) = copy.execute("SELECT count(*) FROM vms WHERE enabled").fetchone()
    return Description(effects.now(), __version__, cluster_uuid, ca_sha256, epoch, vms_enrolled)
