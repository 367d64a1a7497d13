# SPDX-License-Identifier: GPL-3.0-or-later
"""`openngt iso`: make and judge tools ISOs without any service, with a CA folder alone."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from openngt import effects
from openngt.iso.ensure_iso import IsoOrder, ensure_iso
from openngt.iso.inspect import inspect_iso, iso_facts
from openngt.iso.layout import LABEL

from .ca import passphrase_of
from .output import Column, Form, Output, show, show_list

__all__ = ["app"]

app = typer.Typer(help="Tools ISOs, without a service.", no_args_is_help=True)

BUILT = [
    Column("Path", lambda i: i["path"]),
    Column("Label", lambda i: i["label"]),
    Column("SHA-256", lambda i: i["sha256"]),
    Column("Generation", lambda i: i["generation"]),
    Column("Serial", lambda i: i["serial"]),
    Column("Expires", lambda i: i["expires"]),
]
FILES = [
    Column("Path", lambda f: f["path"]),
    Column("Size", lambda f: f["size"]),
    Column("Mode", lambda f: f["mode"]),
    Column("State", lambda f: f["state"]),
    Column("SHA-256", lambda f: f["sha256"]),
]


@app.command()
def build(
    path: Annotated[Path, typer.Argument(help="The ISO to make (0600).")],
    ca_path: Annotated[Path, typer.Option(help="Folder of the CA that signs.")],
    vm_uuid: Annotated[str, typer.Option(help="As the guest's firmware tells it (dmidecode -s system-uuid).")],
    cluster_uuid: Annotated[str, typer.Option(help="The service's, made up once; a service adopts it later.")],
    cluster_ip: Annotated[str, typer.Option(help="Where agents will find the service.")],
    port: Annotated[int, typer.Option(min=1, max=65535)] = 2074,
    vm_name: Annotated[str | None, typer.Option()] = None,
    bootstrap_hours: Annotated[int, typer.Option(min=0, help="Life of the ISO's certificate; 0: the full life.")] = 24,
    label: Annotated[str, typer.Option()] = LABEL,
    extras: Annotated[Path | None, typer.Option(help="Folder whose files go along, under extras/.")] = None,
    windows_python: Annotated[
        Path | None, typer.Option(help="python.org's embeddable package, for a Windows guest.")
    ] = None,
    config_only: Annotated[bool, typer.Option("--config-only", help="Identity without installer and agent.")] = False,
    ca_passphrase_file: Annotated[Path | None, typer.Option(help="What the CA's key is encrypted with.")] = None,
    output: Output = Form.table,
) -> None:
    """Make a VM's ISO, to be attached with whatever the hypervisor offers. One that is still good is kept."""
    order = IsoOrder(
        path=path.absolute(),
        ca_folder=ca_path.absolute(),
        ca_passphrase=passphrase_of(ca_passphrase_file),
        vm_uuid=vm_uuid,
        vm_name=vm_name,
        cluster_uuid=cluster_uuid,
        cluster_ip=cluster_ip,
        port=port,
        bootstrap_hours=bootstrap_hours,
        label=label,
        extras=extras,
        windows_python=windows_python,
        config_only=config_only,
    )
    outcome = ensure_iso(order, check=False, now=effects.now())
    sys.stderr.write(f"ISO made (why: {outcome.reason})\n" if outcome.changed else "ISO is good as it is\n")
    assert outcome.iso is not None, "it has been made or found"
    show(outcome.iso, BUILT, output)


@app.command()
def inspect(
    path: Path,
    ca_sha256: Annotated[str | None, typer.Option(help="Fingerprint that the ISO's CA must have.")] = None,
    output: Output = Form.table,
) -> None:
    """Judge an ISO as an agent would; exit status 1 when anything is wrong with it."""
    now = effects.now()
    report = inspect_iso(path, now=now, ca_sha256=ca_sha256)
    facts = {"path": str(path), **iso_facts(report, now)}
    if output is Form.csv:
        show_list(facts["files"], FILES, output)
    elif output is Form.json:
        show(facts, [], output)
    else:
        show_list(facts["files"], FILES, output)
        sys.stdout.write(f"\nlabel {facts['label']}, {'verified' if facts['verified'] else 'NOT verified'}\n")
        sys.stdout.writelines(f"problem: {problem}\n" for problem in facts["problems"])
    if not facts["verified"]:
        raise typer.Exit(1)
