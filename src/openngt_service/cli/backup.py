# SPDX-License-Identifier: GPL-3.0-or-later
"""`openngt backup` and `openngt restore`: database, CA and ledger in one file. For the service's own host."""

import contextlib
import os
import pwd
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Annotated, Any

import typer

from openngt import effects
from openngt.errors import OpenNGTError

from .connect import Connection
from .output import Column, Form, Output, show

__all__ = ["app", "restore"]

app = typer.Typer(help="Database, CA and ledger of the service on this host, in one file.", no_args_is_help=True)

File = Annotated[Path, typer.Argument(help="The backup; - is standard input or output.")]
DEFAULT_STATE = Path("/var/lib/openngt")

COLUMNS = [
    Column("Created", lambda b: b["created"]),
    Column("Version", lambda b: b["version"]),
    Column("Cluster UUID", lambda b: b["cluster_uuid"]),
    Column("CA SHA-256", lambda b: b["ca_sha256"]),
    Column("Epoch", lambda b: b["epoch"]),
    Column("VMs Enrolled", lambda b: b["vms_enrolled"]),
]


@app.command()
def create(context: typer.Context, file: File, output: Output = Form.table) -> None:
    """Write a backup (0600) while the service runs. It holds the CA's key: keep it as you keep that."""
    from ..backup.create import back_up

    state_dir = own_state_dir(context)
    with written(file) as stream:
        description = back_up(state_dir, stream)
    if file != Path("-"):
        show(description.to_dict(), COLUMNS, output)


@app.command()
def inspect(file: File, output: Output = Form.table) -> None:
    """Check every member of a backup and say what it is. Nothing is written."""
    from ..backup.archive import read_archive

    with read(file) as stream:
        description = read_archive(stream)
    show(description.to_dict(), COLUMNS, output)


def restore(
    context: typer.Context,
    file: File,
    replace: Annotated[bool, typer.Option("--replace", help="Set aside the state that is there.")] = False,
    output: Output = Form.table,
) -> None:
    """Put a backup in the place of the state folder of a service that is stopped."""
    from ..backup.restore import restore as put_back

    state_dir = own_state_dir(context)
    with read(file) as stream:
        description, aside = put_back(stream, state_dir, replace_state=replace)
    if aside is not None:
        sys.stderr.write(f"the former state is in {aside}\n")
    answer: dict[str, Any] = {**description.to_dict(), "state_dir": str(state_dir)}
    show(answer, [*COLUMNS, Column("State Folder", lambda b: b["state_dir"])], output)


def own_state_dir(context: typer.Context) -> Path:
    """The state folder. PERMISSION_DENIED unless it is this user's: a database that somebody else has opened leaves
    files behind that the service cannot write.
    """
    connection = context.find_object(Connection)
    state_dir = (connection.state_dir if connection is not None else None) or DEFAULT_STATE
    with effects.file_errors(str(state_dir)):
        owner = state_dir.stat().st_uid if state_dir.exists() else os.geteuid()
    if owner != os.geteuid():
        name = user_name(owner)
        raise OpenNGTError(
            "PERMISSION_DENIED",
            f"{state_dir} belongs to {name}",
            remedy=f"run it as that user: sudo -u {name} openngt --state-dir {state_dir} ...",
        )
    return state_dir.absolute()


def user_name(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"


@contextlib.contextmanager
def written(file: Path) -> Iterator[IO[bytes]]:
    """A stream whose content has the file's name once all of it is on the disk; 0600 from before the first byte on."""
    if file == Path("-"):
        if sys.stdout.isatty():
            raise OpenNGTError(
                "INVALID_INPUT", "a backup is nothing for a terminal", remedy="redirect it, or name a file"
            )
        yield sys.stdout.buffer
        return
    partial = file.with_name(f".{file.name}.partial")
    with effects.file_errors(str(file)):
        partial.unlink(missing_ok=True)
        try:
            with os.fdopen(
                os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb"
            ) as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            partial.replace(file)
        finally:
            partial.unlink(missing_ok=True)
        effects.fsync_directory(str(file.absolute().parent))


@contextlib.contextmanager
def read(file: Path) -> Iterator[IO[bytes]]:
    if file == Path("-"):
        yield sys.stdin.buffer
        return
    with effects.file_errors(str(file)), file.open("rb") as stream:
        yield stream
