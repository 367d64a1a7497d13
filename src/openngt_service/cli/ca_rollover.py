# SPDX-License-Identifier: GPL-3.0-or-later
"""`openngt ca rollover`: let another CA follow the service's."""

import asyncio
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from openngt import effects
from openngt.errors import OpenNGTError
from openngt.pki.rollover import Succession, activate_next, load_succession, prepare_next

from .connect import Connection, connect
from .output import Column, Form, Output, print_json, show, show_list

__all__ = ["app"]

app = typer.Typer(help="Let another CA follow the service's, without losing an agent.", no_args_is_help=True)

Force = Annotated[bool, typer.Option("--force", help="Go on without the VMs that are not ready.")]
Check = Annotated[bool, typer.Option("--check", help="Say what would be done; change nothing.")]
Replaces = Annotated[
    str | None, typer.Option("--replaces", help="SHA-256 of the CA that shall be followed, when asked.")
]

COLUMNS = [
    Column("Phase", lambda s: s["phase"]),
    Column("Signing CA", lambda s: s["signing"]["ca_sha256"]),
    Column("Signing Until", lambda s: s["signing"]["not_after"]),
    Column("Next CA", lambda s: s["next"] and s["next"]["ca_sha256"]),
    Column("Old CA", lambda s: s["old"] and s["old"]["ca_sha256"]),
    Column("VMs Behind", lambda s: len(s["vms_behind"])),
    Column("Next Step", lambda s: s["advice"] and f"{s['advice']['step']}: {s['advice']['message']}"),
]
BEHIND = [
    Column("VM Name", lambda vm: vm["vm_name"]),
    Column("Linked", lambda vm: vm["linked"]),
    Column("Why", lambda vm: vm["message"]),
    Column("Remedy", lambda vm: vm["remedy"]),
]


def tell(status: Mapping[str, Any], output: Form) -> None:
    if output is Form.json:
        print_json(status)
        return
    show(status, COLUMNS, output)
    if status["vms_behind"]:
        show_list(status["vms_behind"], BEHIND, output)


def do(context: typer.Context, step: str, output: Form, **options: Any) -> None:
    with connect(context) as client:
        outcome = client.roll_over(step, **options)
    would = "would be done" if options["check"] else "done"
    sys.stderr.write(f"{step}: {would if outcome['changed'] else 'nothing to do'}: {outcome['reason']}\n")
    tell(outcome, output)


@app.command()
def status(context: typer.Context, output: Output = Form.table) -> None:
    """How far it is, what it is time for, and which VMs the next step waits for."""
    with connect(context) as client:
        tell(client.ca_rollover(), output)


@app.command()
def prepare(
    context: typer.Context,
    replaces: Replaces = None,
    force: Annotated[bool, typer.Option("--force", help="Also while more than half of the CA's life is left.")] = False,
    check: Check = False,
    output: Output = Form.table,
) -> None:
    """Make the next CA. The old one goes on signing; agents are given both with their next certificate."""
    do(context, "prepare", output, replaces=replaces, force=force, check=check)


@app.command()
def activate(context: typer.Context, force: Force = False, check: Check = False, output: Output = Form.table) -> None:
    """Let the next CA sign, once every agent holds it."""
    do(context, "activate", output, force=force, check=check)


@app.command()
def retire(context: typer.Context, force: Force = False, check: Check = False, output: Output = Form.table) -> None:
    """Trust the old CA no more and destroy its key, once no agent has a certificate of it."""
    do(context, "retire", output, force=force, check=check)


@app.command()
def abort(context: typer.Context, check: Check = False, output: Output = Form.table) -> None:
    """Give up a CA that is prepared and does not sign yet."""
    do(context, "abort", output, check=check)


@app.command()
def recover(context: typer.Context) -> None:
    """For a CA that is over, on the service's host while it is stopped: make the next one and let it sign at once."""
    connection = context.find_object(Connection)
    state_dir = None if connection is None else connection.state_dir
    if state_dir is None:
        raise OpenNGTError("INVALID_INPUT", "state_dir is not set", remedy="give --state-dir, or OPENNGT_STATE_DIR")
    succession = recovered(state_dir.absolute())
    sys.stdout.write(
        f"CA SHA-256   {succession.signer.ca_sha256}\n"
        f"CA file      {state_dir / 'ca/ca.pem'}: clients of the API need it now\n"
        "next         openngt serve, then openngt ca rollover status\n"
    )


def recovered(state_dir: Path) -> Succession:
    """SERVICE_CONFLICT while the service runs, or when the CA is not over: then the steps lose nobody."""
    # The service's libraries take a second to load, which no other command should wait for.
    from ..config import load_settings
    from ..store.audit import AuditEntry
    from ..store.lock import state_lock
    from ..store.opening import open_store

    os.umask(0o077)
    settings = load_settings(overrides={"state_dir": state_dir})
    with state_lock(state_dir):
        found, now = load_succession(settings.ca_directory), effects.now()
        if found.signer.not_after > now:
            raise OpenNGTError(
                "SERVICE_CONFLICT",
                f"the CA is good until {found.signer.not_after:%Y-%m-%d}",
                remedy="start the service, then: openngt ca rollover prepare",
            )
        store = open_store(settings, found.signer)
        try:
            details = {"ca_sha256": found.signer.ca_sha256}
            asyncio.run(store.audit.record(AuditEntry("openngt ca rollover recover", "ca.recover", details=details)))
            asyncio.run(store.ledger.attribute(found.oldest_sha256))
        finally:
            store.close()
        prepare_next(settings.ca_directory, now=now)
        return activate_next(settings.ca_directory, now=now)
