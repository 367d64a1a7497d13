# SPDX-License-Identifier: GPL-3.0-or-later
"""`openngt compat`: the names of the original's tools as small commands, for hands and scripts that know them."""

from pathlib import Path
from typing import Annotated

import typer

from ..compat.install import install as write_commands
from ..compat.install import remove as remove_commands
from ..compat.programs import PROGRAMS
from .connect import Connection

__all__ = ["app"]

app = typer.Typer(help="The original's commands (ncli, acli, …) as aliases.", no_args_is_help=True)

Directory = Annotated[Path, typer.Option(help="A folder of PATH.")]
DEFAULT = Path("/usr/local/bin")


@app.command()
def install(context: typer.Context, directory: Directory = DEFAULT) -> None:
    """Write the commands. With --state-dir before `compat` they speak to the service on this host."""
    connection = context.find_object(Connection)
    state_dir = connection.state_dir.absolute() if connection is not None and connection.state_dir else None
    for path in write_commands(directory.absolute(), list(PROGRAMS), state_dir):
        typer.echo(path)


@app.command()
def remove(directory: Directory = DEFAULT) -> None:
    """Delete those that `install` has written."""
    for path in remove_commands(directory.absolute(), list(PROGRAMS)):
        typer.echo(path)
