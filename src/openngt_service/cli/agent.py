# SPDX-License-Identifier: GPL-3.0-or-later
"""`openngt agent`: the agent for those who make images; no service is asked."""

import enum
from pathlib import Path
from typing import Annotated

import typer

from ..agent_package.build import FORMATS, build_packages
from .output import Column, Form, Output, show_list

__all__ = ["app"]

app = typer.Typer(help="The agent as a package, for images and templates.", no_args_is_help=True)

PACKAGES = [
    Column("Path", lambda p: p["path"]),
    Column("Format", lambda p: p["format"]),
    Column("Version", lambda p: p["version"]),
    Column("Agent", lambda p: p["agent_version"]),
    Column("First Disc", lambda p: p["first_disc"]),
    Column("Size", lambda p: p["size"]),
    Column("SHA-256", lambda p: p["sha256"]),
]


class Wanted(enum.StrEnum):
    deb = "deb"
    rpm = "rpm"
    both = "both"


@app.callback()
def group() -> None:
    """Keeps `package` a command of its own: with one command alone Typer would leave its name out."""


@app.command("package")
def package(
    form: Annotated[Wanted, typer.Option("--format", help="For dpkg, for rpm, or one of each.")] = Wanted.both,
    directory: Annotated[Path, typer.Option("--directory", "-d", help="Where the packages go.")] = Path(),
    ca_sha256: Annotated[
        str | None, typer.Option(help="Only a disc of this CA brings the first identity; without it any does.")
    ] = None,
    revision: Annotated[int, typer.Option(min=1, help="Raise it to replace a package of the same version.")] = 1,
    output: Output = Form.table,
) -> None:
    """Build a .deb and an .rpm of this version's agent, without an identity: that comes with each VM's own disc."""
    formats = list(FORMATS) if form is Wanted.both else [form.value]
    show_list(build_packages(directory.absolute(), formats, ca_sha256=ca_sha256, revision=revision), PACKAGES, output)
