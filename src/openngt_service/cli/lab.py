# SPDX-License-Identifier: GPL-3.0-or-later
"""`openngt lab`: a few real VMs on this machine, to try and to test with."""

import os
import shutil
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from openngt.errors import OpenNGTError

from ..hypervisors.qemu_clone import card_address
from ..lab.accelerator import choose_accelerator
from ..lab.console import Console
from ..lab.image import Image, ensure_image
from ..lab.inventory import GuestUser, inventory, service_variables
from ..lab.service_process import ServiceProcess
from ..lab.vm import Lab, LabVm
from .output import Column, Form, Output, show_list

__all__ = ["app"]

app = typer.Typer(help="A few real Debian VMs on this machine, to try and to test with.", no_args_is_help=True)

COLUMNS = (
    Column("NAME", lambda vm: vm["name"]),
    Column("UUID", lambda vm: vm["vm_uuid"]),
    Column("STATE", lambda vm: vm["state"]),
    Column("SSH PORT", lambda vm: vm["ssh_port"]),
    Column("PID", lambda vm: vm["pid"]),
    Column("ACCELERATOR", lambda vm: vm["accelerator"]),
    Column("CONSOLE", lambda vm: vm["console"]),
)


def default_directory() -> Path:
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local/state")
    return Path(base) / "openngt/lab"


Directory = Annotated[
    Path,
    typer.Option(
        "--directory",
        envvar="OPENNGT_LAB_DIRECTORY",
        default_factory=default_directory,
        show_default="~/.local/state/openngt/lab",
        help="Folder of the lab; the same as the service's qemu_directory.",
    ),
]


def report(line: str) -> None:
    """Progress goes to standard error, so that standard output stays data."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def record(vm: LabVm) -> dict[str, Any]:
    pid = vm.pid
    state = "off" if pid is None else "on"
    return {
        **asdict(vm),
        "state": state,
        "pid": pid,
        "console": str(vm.console),
        "known_hosts": str(vm.target.known_hosts),
        "mac": card_address(vm.vm_uuid, 0),
    }


Off = Annotated[bool, typer.Option("--off", help="Make it ready, for the service to start it.")]


@app.command("image")
def image() -> None:
    """Build the guest image unless the cached one is up to date."""
    typer.echo(ensure_image(report).folder)


@app.command("up")
def up(
    names: Annotated[list[str], typer.Argument(metavar="NAME...")],
    directory: Directory,
    memory_mb: Annotated[int, typer.Option(min=256, help="Memory of each VM.")] = 1024,
    cdrom: Annotated[Path | None, typer.Option(exists=True, help="A disc for the second drive.")] = None,
    serial: Annotated[bool, typer.Option("--serial/--no-serial", help="A second serial port, for the service.")] = True,
    virtio_port: Annotated[bool, typer.Option("--virtio-port", help="A virtio port for the service, too.")] = False,
    network: Annotated[bool, typer.Option("--network/--no-network", help="A network card.")] = True,
    cloud_init: Annotated[
        bool, typer.Option("--cloud-init", help="Have cloud-init look for a disc at each boot.")
    ] = False,
    off: Off = False,
    output: Output = Form.table,
) -> None:
    """Start VMs and wait until each answers over SSH, or, without a network, asks for a login on its console."""
    guest = ensure_image(report)
    lab = Lab(directory, report)
    accelerator = choose_accelerator(guest, report)
    how = {"serial": serial, "virtio_port": virtio_port, "network": network, "cloud_init": cloud_init, "off": off}
    vms = [lab.start(name, guest, accelerator, memory_mb=memory_mb, cdrom=cdrom, **how) for name in names]
    for vm in vms:
        if not off:
            lab.wait(vm)
    show_list([record(vm) for vm in vms], COLUMNS, output)


Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until the guest answers.")]


@app.command("clone")
def clone(
    name: str,
    new: Annotated[str, typer.Argument(metavar="NEW", help="The copy's name.")],
    directory: Directory,
    wait: Wait = True,
    off: Off = False,
    output: Output = Form.table,
) -> None:
    """Copy a VM, on or off, and start the copy: another UUID, another network card, empty drives."""
    guest = ensure_image(report)
    lab = Lab(directory, report)
    lab.clone(name, new)
    start_again(lab, new, guest, wait and not off, output, off=off)


@app.command("snapshot")
def snapshot(
    name: str, snapshot: Annotated[str, typer.Argument(metavar="SNAPSHOT", help="Its name.")], directory: Directory
) -> None:
    """Keep the state of a VM's disk, on or off; its memory is not kept."""
    Lab(directory, report).snapshot(name, snapshot)


@app.command("revert")
def revert(
    name: str,
    snapshot: Annotated[str, typer.Argument(metavar="SNAPSHOT", help="Its name.")],
    directory: Directory,
    wait: Wait = True,
    output: Output = Form.table,
) -> None:
    """Pull a VM's plug, put its disk back to a snapshot, and start it."""
    guest = ensure_image(report)
    lab = Lab(directory, report)
    lab.revert(name, snapshot)
    start_again(lab, name, guest, wait, output)


def start_again(lab: Lab, name: str, guest: Image, wait: bool, output: Form, *, off: bool = False) -> None:
    vm = lab.start(name, guest, choose_accelerator(guest, report), off=off)
    if wait:
        lab.wait(vm)
    show_list([record(vm)], COLUMNS, output)


@app.command("list")
def list_vms(directory: Directory, output: Output = Form.table) -> None:
    """The lab's VMs."""
    show_list([record(vm) for vm in Lab(directory, report).vms()], COLUMNS, output)


@app.command("ssh", context_settings={"ignore_unknown_options": True})
def ssh(
    name: str,
    directory: Directory,
    command: Annotated[list[str] | None, typer.Argument(metavar="[COMMAND...]")] = None,
    user: Annotated[str, typer.Option(help="root, admin or operator.")] = "root",
) -> None:
    """A shell in a VM, or one command."""
    words = Lab(directory, report).vm(name).target.command(user, *(command or []))
    if shutil.which(words[0]) is None:
        raise OpenNGTError("COMMAND_NOT_FOUND", f"command not found: {words[0]}")
    os.execvp(words[0], words)  # noqa: S606 - the terminal belongs to ssh from here on


@app.command("console")
def console(
    name: str, directory: Directory, command: Annotated[list[str], typer.Argument(metavar="COMMAND...")]
) -> None:
    """Run one command as root on a VM's console, which needs no network: log in as `operator`, sudo, log out."""
    lab = Lab(directory, report)
    with Console(lab.vm(name).console_socket) as session:
        session.log_in("operator", lab.operator_password.read_text(encoding="ascii").strip())
        status, said = session.run(" ".join(command))
    typer.echo(said)
    raise typer.Exit(status)


@app.command("down")
def down(directory: Directory, names: Annotated[list[str] | None, typer.Argument(metavar="[NAME...]")] = None) -> None:
    """End VMs and delete their disks; all of them, and the lab's service, when none is named."""
    if not names:
        service_beside(directory).stop()
        shutil.rmtree(service_beside(directory).directory, ignore_errors=True)
    Lab(directory, report).down(names or [])


def service_beside(directory: Path) -> ServiceProcess:
    folder = directory.absolute() / ".service"
    return ServiceProcess(folder, Path(sys.executable).with_name("openngt"), folder / "service.log")


@app.command("serve")
def serve(directory: Directory) -> None:
    """Start a service for the lab's VMs in the background; `openngt lab down` ends it."""
    service = service_beside(directory)
    service.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    service.stop()
    service.configure(directory.absolute())
    service.start()
    typer.echo(f"{service.environment()['OPENNGT_ENDPOINT']}, state in {service.state}, log {service.log}")


@app.command("inventory")
def show_inventory(
    directory: Directory,
    user: Annotated[GuestUser, typer.Option(help="Who Ansible logs in as.")] = "root",
    off: Annotated[bool, typer.Option("--off", help="With those that are off.")] = False,
) -> None:
    """An Ansible inventory (YAML) of the running VMs; with the lab's service in it, when `openngt lab serve` runs."""
    lab = Lab(directory, report)
    document = inventory(lab, [vm for vm in lab.vms() if off or vm.pid is not None], user)
    service = service_beside(directory)
    if settings := service.settings():
        document["all"]["vars"] |= service_variables(service, settings["gateway_port"])
    typer.echo(yaml.safe_dump(document, sort_keys=False), nl=False)
