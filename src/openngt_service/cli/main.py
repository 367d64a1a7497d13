# SPDX-License-Identifier: GPL-3.0-or-later
"""The root command, and how failures are shown: one line with the code, one with the remedy, exit status 1."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from openngt.version import __version__

from . import (
    agent,
    audit,
    backup,
    ca,
    compat,
    compatibility,
    customize,
    fleet_install,
    health,
    iso,
    lab,
    power,
    refresh,
    report,
    serve,
    task,
    token,
    upgrade,
    vm,
)
from .connect import DEFAULT_TIMEOUT, Connection
from .endings import exit_status
from .output import tell_failure

__all__ = ["app", "main"]

app = typer.Typer(
    name="openngt",
    help="Guest tools for any fleet of virtual machines.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("serve")(serve.serve)
vm.app.command("power")(power.power)
vm.app.command("power-show")(power.show)
app.add_typer(vm.app, name="vm")
app.add_typer(fleet_install.app, name="fleet")
app.add_typer(refresh.app, name="refresh")
app.add_typer(upgrade.app, name="upgrade")
app.command("compatibility")(compatibility.compatibility)
app.add_typer(customize.app, name="customize")
app.add_typer(task.app, name="task")
app.add_typer(ca.app, name="ca")
app.add_typer(iso.app, name="iso")
app.add_typer(agent.app, name="agent")
app.add_typer(health.app, name="health")
app.command("report")(report.report)
app.add_typer(audit.app, name="audit")
app.add_typer(token.app, name="token")
app.add_typer(backup.app, name="backup")
app.command("restore")(backup.restore)
app.add_typer(compat.app, name="compat")
app.add_typer(lab.app, name="lab")


def show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"openngt {__version__}")
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    endpoint: Annotated[str | None, typer.Option(help="https://host:2073; or OPENNGT_ENDPOINT.")] = None,
    ca_file: Annotated[Path | None, typer.Option(help="The service's CA; or OPENNGT_CA_FILE.")] = None,
    token_file: Annotated[Path | None, typer.Option(help="File that holds the token; or OPENNGT_TOKEN.")] = None,
    state_dir: Annotated[
        Path | None, typer.Option(envvar="OPENNGT_STATE_DIR", help="State folder of the service on this host.")
    ] = None,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds for one call.")] = DEFAULT_TIMEOUT,
    _version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    context.obj = Connection(endpoint, ca_file, token_file, state_dir, timeout)


def main() -> None:
    """Entry point: exit status 0, 1 for a failure that has a code, 2 for a wrong command line, 130 after Ctrl-C."""
    sys.exit(exit_status(typed, tell_failure))


def typed() -> int:
    """What was typed, as Typer takes it: that ends with an exit, by which the answer may not be written yet."""
    try:
        app(prog_name="openngt")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    return 0
