# SPDX-License-Identifier: GPL-3.0-or-later
"""`openngt vm`: enrolled VMs, their ISO and their link."""

import getpass
import socket
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from openngt.client import Client
from openngt.diagnosis.decide import in_lines
from openngt.errors import OpenNGTError

from .connect import connect
from .endings import no_longer_waiting
from .output import Column, Form, Output, print_json, printable, say, show, show_list

__all__ = ["app", "require_enrolled"]

app = typer.Typer(help="Enrolled VMs.", no_args_is_help=True)

Vm = Annotated[str, typer.Argument(metavar="VM", help="UUID or name.")]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for the task's end.")]
Seconds = Annotated[float, typer.Option("--wait-seconds", min=1, help="How long to wait.")]


def certificate(vm: Mapping[str, Any], field: str) -> Any:
    return (vm["certificate"] or {}).get(field)


def capabilities_taken(vm: Mapping[str, Any]) -> str | None:
    """Those that the agent has switched on; empty while it is not connected."""
    taken = vm["agent_capabilities"]
    return None if taken is None else ", ".join(name for name, on in taken.items() if on) or "none"


def serial_port(vm: Mapping[str, Any]) -> str:
    """In words: `needs a full stop and start`."""
    state: str = vm["serial_port"]
    return "needs a full stop and start" if state == "needs_full_stop_and_start" else state


# Titles as people know them from `ncli ngt list`.
COLUMNS = [
    Column("VM Id", lambda vm: vm["vm_uuid"]),
    Column("VM Name", lambda vm: vm["vm_name"]),
    Column("NGT Enabled", lambda vm: vm["ngt_enabled"]),
    Column("Tools ISO Mounted", lambda vm: vm["tools_iso_mounted"]),
    Column("Vss Snapshot", lambda vm: vm["vss_snapshot"]),
    Column("Self Service Restore", lambda vm: vm["self_service_restore"]),
    Column("Communication Link Active", lambda vm: vm["communication_link_active"]),
    Column("Transport", lambda vm: vm["transport"]),
    Column("Agent Version", lambda vm: vm["agent_version"]),
    Column("Certificate Expires", lambda vm: certificate(vm, "not_after")),
]
DETAILS = [
    *COLUMNS[:2],
    Column("NGT Id", lambda vm: vm["ngt_uuid"]),
    *COLUMNS[2:6],
    Column("Agent Capabilities", capabilities_taken),
    COLUMNS[6],
    Column("Communication Type", lambda vm: vm["communication_type"]),
    Column("Link Over Serial Port", lambda vm: vm["communication_link_over_serial_port_active"]),
    Column("Serial Port", serial_port),
    Column("Serial Port Held Until", lambda vm: vm.get("serial_port_held_until")),
    *COLUMNS[7:9],
    Column("Available Version", lambda vm: vm["available_version"]),
    Column("Agent Support", lambda vm: (vm.get("agent_support") or {}).get("state")),
    Column("Reboot Required", lambda vm: vm.get("reboot_required")),
    Column("Power State", lambda vm: vm["power_state"]),
    Column("Generation", lambda vm: vm["generation"]),
    Column("Certificate Serial", lambda vm: certificate(vm, "serial")),
    Column("Certificate Kind", lambda vm: certificate(vm, "kind")),
    Column("Certificate State", lambda vm: certificate(vm, "state")),
    *COLUMNS[9:],
    Column("Certificate Expiry", lambda vm: certificate(vm, "expiry")),
    Column("Mounted For", lambda vm: (vm["mount"] or {}).get("holder")),
    Column("Lease Ends", lambda vm: (vm["mount"] or {}).get("lease_ends")),
    Column("Link Since", lambda vm: (vm["link"] or {}).get("since")),
    Column("Link Peer", lambda vm: (vm["link"] or {}).get("peer")),
    Column("Clock Offset", lambda vm: (vm["link"] or {}).get("clock_offset_seconds")),
    Column("Last Refusal", lambda vm: ((vm["link"] or {}).get("last_refusal") or {}).get("reason")),
    Column("Guest OS", lambda vm: (vm["vm_info"] or {}).get("guest_os_name")),
    Column("Enrolled At", lambda vm: vm["enrolled_at"]),
]
CLONES = [
    *COLUMNS[:2],
    Column("State", lambda vm: "clone_pending"),
    Column("Cloned From", lambda vm: vm["cloned_from"]["vm_name"]),
    Column("Cloned From Id", lambda vm: vm["cloned_from"]["vm_uuid"]),
    Column("Power State", lambda vm: vm["power_state"]),
]
DIAGNOSIS = [
    *COLUMNS[:2],
    Column("Communication Link Active", lambda found: found["link_active"]),
    Column("Cause", lambda found: found["cause"]),
    Column("Message", lambda found: found["message"]),
    Column("Remedy", lambda found: found["remedy"]),
]


def require_enrolled(names: Sequence[str], records: Sequence[Mapping[str, Any]]) -> None:
    """NOT_ENROLLED lists those of the names and UUIDs that are no record's."""
    known = {record[field] for record in records for field in ("vm_uuid", "vm_name")}
    missing = [name for name in names if not known & {name, name.lower()}]
    if missing:
        raise OpenNGTError("NOT_ENROLLED", f"no guest tools are enabled for {', '.join(missing)}")


def default_holder() -> str:
    """Names person and host but no process: mount and eject are two runs of the same holder."""
    return f"{getpass.getuser()}@{socket.gethostname()} (openngt)"


Holder = Annotated[
    str, typer.Option(default_factory=default_holder, show_default="user@host (openngt)", help="Who works on the VM.")
]


def follow(client: Client, task: dict[str, Any], wait: bool, seconds: float) -> dict[str, Any]:
    """The finished task; progress goes to stderr. Without `wait` the task as it is."""
    if not wait:
        return task

    def tell(now: Mapping[str, Any]) -> None:
        say(f"{now['progress']:3d} %  {now['step']}")

    with no_longer_waiting(f"openngt task show {task['task_id']}"):
        return client.wait_task(task, seconds, tell)


@app.command("list")
def list_vms(
    context: typer.Context,
    vm: Annotated[list[str] | None, typer.Argument(metavar="[VM]...", help="UUIDs or names; none: all.")] = None,
    filters: Annotated[
        list[str] | None,
        typer.Option(
            "--filter", metavar="FIELD=VALUE", help="Also != < <= > >=; values by comma; repeated: all must hold."
        ),
    ] = None,
    sort: Annotated[str | None, typer.Option(metavar="[-]FIELD", help="By name; - before a field reverses it.")] = None,
    output: Output = Form.table,
) -> None:
    """Show enrolled VMs, however many there are; exit status 1 when one that is named has no guest tools enabled.

    openngt vm list --filter link=inactive --filter power_state=on

    openngt vm list --filter 'days_left<=45' --sort days_left --output csv
    """
    with connect(context) as client:
        records = client.vms(vm or (), filters=filters or (), sort=sort, vm_info=output is Form.json)
        show_list(records, COLUMNS, output)
        # A condition may have left out one that is there.
        require_enrolled(vm or (), client.vms(vm, vm_info=False) if vm and filters else records)


@app.command("clones")
def list_clones(context: typer.Context, output: Output = Form.table) -> None:
    """Show clones of enrolled VMs that wait to be enabled, each with the VM that it is a copy of."""
    with connect(context) as client:
        show_list(client.hypervisor_vms(clone_pending=True), CLONES, output)


@app.command("show")
def show_vm(context: typer.Context, vm: Vm, output: Output = Form.table) -> None:
    """Show one VM in full."""
    with connect(context) as client:
        show(client.vm(vm), DETAILS, output)


@app.command()
def diagnose(context: typer.Context, vm: Vm, output: Output = Form.table) -> None:
    """Say why the VM's link is not active, as far as the service can tell; the playbook `diagnose` asks the guest."""
    with connect(context) as client:
        found = client.diagnosis(vm)
    if output is Form.table:
        sys.stdout.writelines(f"{printable(line)}\n" for line in in_lines(found))
    else:
        show(found, DIAGNOSIS, output)


@app.command()
def enable(
    context: typer.Context,
    vm: Vm,
    vss_snapshot: Annotated[bool | None, typer.Option("--vss-snapshot/--no-vss-snapshot")] = None,
    self_service_restore: Annotated[
        bool | None, typer.Option("--self-service-restore/--no-self-service-restore")
    ] = None,
    output: Output = Form.table,
) -> None:
    """Enrol a VM, or change the capabilities of an enrolled one."""
    wanted = {"vss_snapshot": vss_snapshot, "self_service_restore": self_service_restore}
    given = {name: value for name, value in wanted.items() if value is not None}
    with connect(context) as client:
        show(client.enable(vm, given or None), DETAILS, output)


@app.command()
def disable(context: typer.Context, vm: Vm, output: Output = Form.table) -> None:
    """Revoke the VM's certificates, cut its link, eject its ISO, end its enrolment."""
    with connect(context) as client:
        answer = client.disable(vm)
    show(answer, [Column("VM Id", lambda a: a["vm_uuid"]), Column("Revoked", lambda a: len(a["revoked"]))], output)


@app.command()
def mount(
    context: typer.Context,
    vm: Vm,
    holder: Holder,
    lease_seconds: Annotated[int, typer.Option(min=10, help="How long the mount is the holder's.")] = 1800,
    config_only: Annotated[bool, typer.Option(help="Identity without installer and agent.")] = False,
    wait: Wait = True,
    wait_seconds: Seconds = 120,
    output: Output = Form.table,
) -> None:
    """Put the VM's tools ISO into an empty CD-ROM drive."""
    with connect(context) as client:
        task = client.mount(vm, holder, lease_seconds, config_only)
        show_task(follow(client, task, wait, wait_seconds), output)


@app.command()
def eject(
    context: typer.Context,
    vm: Vm,
    holder: Holder,
    force: Annotated[bool, typer.Option("--force", help="Also when the guest does not let go of the disc.")] = False,
    wait: Wait = True,
    wait_seconds: Seconds = 120,
    output: Output = Form.table,
) -> None:
    """Take the VM's tools ISO out of its drive and delete the file."""
    with connect(context) as client:
        task = client.eject(vm, holder, force)
        show_task(follow(client, task, wait, wait_seconds), output)


def show_task(task: Mapping[str, Any], output: Form) -> None:
    if output is Form.json:
        print_json(task)
        return
    columns = [Column("Task", lambda t: t["task_id"]), Column("State", lambda t: t["state"])]
    for name in task["result"] or {}:
        columns.append(Column(name, lambda t, name=name: t["result"][name]))  # type: ignore[misc]  # bound per turn
    show(task, columns, output)
