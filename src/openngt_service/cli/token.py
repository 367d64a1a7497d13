# SPDX-License-Identifier: GPL-3.0-or-later
"""`openngt token`: who may call the API."""

import enum
import sys
from pathlib import Path
from typing import Annotated

import typer

from openngt import effects

from .connect import connect
from .output import Column, Form, Output, show, show_list

__all__ = ["app"]

app = typer.Typer(help="Tokens of the API.", no_args_is_help=True)

COLUMNS = [
    Column("Name", lambda t: t["name"]),
    Column("Role", lambda t: t["role"]),
    Column("Created", lambda t: t["created"]),
]


class Role(enum.StrEnum):
    viewer = "viewer"
    operator = "operator"
    admin = "admin"


@app.command()
def create(
    context: typer.Context,
    name: str,
    role: Annotated[Role, typer.Option(help="viewer < operator < admin.")] = Role.viewer,
    file: Annotated[Path | None, typer.Option(help="Write the token here (0600) instead of showing it.")] = None,
    output: Output = Form.table,
) -> None:
    """Make a token. It is shown this once; the service keeps only its hash."""
    with connect(context) as client:
        answer = client.create_token(name, role)
    if file is not None:
        effects.write_private(str(file), answer.pop("token").encode() + b"\n")
        sys.stderr.write(f"token written to {file}\n")
    show(answer, [*COLUMNS, *([Column("Token", lambda t: t["token"])] if "token" in answer else [])], output)


@app.command("list")
def list_tokens(context: typer.Context, output: Output = Form.table) -> None:
    with connect(context) as client:
        show_list(client.tokens(), COLUMNS, output)


@app.command()
def delete(context: typer.Context, name: str) -> None:
    """The next call with it is refused."""
    with connect(context) as client:
        client.delete_token(name)
    sys.stderr.write(f"token {name} deleted\n")
