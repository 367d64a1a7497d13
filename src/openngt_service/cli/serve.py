# SPDX-License-Identifier: GPL-3.0-or-later
"""`openngt serve`: run the service in the foreground, as a supervisor wants it."""

from pathlib import Path
from typing import Annotated, Any

import typer

from .connect import Connection

__all__ = ["serve"]


def serve(
    context: typer.Context,
    config: Annotated[
        Path | None, typer.Option(envvar="OPENNGT_CONFIG", help="Settings (TOML); OPENNGT_<KEY> overrides a key.")
    ] = None,
    state_dir: Annotated[Path | None, typer.Option(help="Overrides state_dir of the settings.")] = None,
) -> None:
    """Run the service until SIGTERM or SIGINT."""
    # The service's libraries take a second to load, which no other command should wait for.
    from ..app import run
    from ..config import load_settings

    connection = context.find_object(Connection)
    folder = state_dir or (connection.state_dir if connection is not None else None)
    overrides: dict[str, Any] = {} if folder is None else {"state_dir": folder.absolute()}
    run(load_settings(config, overrides))
