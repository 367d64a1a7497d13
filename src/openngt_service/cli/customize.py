# SPDX-License-Identifier: GPL-3.0-or-later
"""`openngt customize`: what a VM becomes at its first boot, from a file; with the service, or as an ISO without one."""

import contextlib
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from openngt.customization import applying
from openngt.customization.authoring import write_media
from openngt.customization.media import build as build_media
from openngt.customization.model import Finding, Media, MediaVm
from openngt.customization.sources import needs_datastore, read_beside, resolve
from openngt.customization.spec import parse
from openngt.errors import OpenNGTError

from .connect import Connection, connect
from .endings import no_longer_waiting
from .fleet import WaitForEnd
from .output import Column, Form, Output, print_json, say, show, show_list

__all__ = ["app"]

app = typer.Typer(help="What a VM becomes at its first boot: name, users, packages, files.", no_args_is_help=True)

Json = dict[str, Any]
Vm = Annotated[str, typer.Argument(help="UUID or name of the VM.")]
File = Annotated[Path, typer.Argument(help="YAML; `src` in it is relative to the file.")]
WaitSeconds = Annotated[
    int | None, typer.Option("--wait-seconds", min=10, help="How long the guest may take; 1800 unless the file says.")
]
PowerOn = Annotated[bool | None, typer.Option("--power-on/--no-power-on", help="Switch the VM on afterwards.")]

WAIT_SECONDS = 1800
MOST_BYTES = 1 << 20
FINDINGS = [
    Column("Severity", lambda f: f["severity"]),
    Column("Code", lambda f: f["code"]),
    Column("Part", lambda f: f["part"]),
    Column("Line", lambda f: f["line"]),
    Column("Key", lambda f: f["key"]),
    Column("Message", lambda f: f["message"]),
    Column("Remedy", lambda f: f["remedy"]),
]
COLUMNS = [
    Column("VM Name", lambda row: row["vm_name"]),
    Column("VM Id", lambda row: row["vm_uuid"]),
    Column("State", lambda row: row["state"]),
    Column("Format", lambda row: row["format"]),
    Column("Instance Id", lambda row: row["instance_id"]),
    Column("Drive", lambda row: row["drive"]),
    Column("Requested", lambda row: row["requested_at"]),
    Column("Finished", lambda row: row["finished_at"]),
    Column("Code", lambda row: row["code"]),
    Column("Message", lambda row: row["message"]),
]


class Loader(yaml.SafeLoader):
    """Without dates, which JSON does not know: 2030-01-01 is that text."""

    yaml_implicit_resolvers = {  # noqa: RUF012  as PyYAML has it
        first: [(tag, form) for tag, form in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


@app.command()
def plan(context: typer.Context, vm: Vm, file: File, output: Output = Form.table) -> None:
    """Have everything checked, and show what the disc would hold, secrets masked. Changes nothing."""
    spec = read_spec(file)
    with connect(context) as client, faults_listed(file):
        planned = applying.plan(client, vm, spec)
    if output is Form.json:
        print_json(planned._asdict())
        return
    tell_findings(planned.findings)
    say(f"{vm}: {'would be customized' if planned.changed else 'has it'} ({planned.reason})")
    sys.stdout.write(planned.after)


@app.command()
def apply(
    context: typer.Context,
    vm: Vm,
    file: File,
    power_on: PowerOn = None,
    wait: WaitForEnd = True,
    wait_seconds: WaitSeconds = None,
    output: Output = Form.table,
) -> None:
    """Customize a VM; exit status 1 when the guest did not become what it should."""
    spec = {"power_on": True, "wait_seconds": WAIT_SECONDS, **read_spec(file)}
    spec.update({} if power_on is None else {"power_on": power_on})
    spec.update({} if wait_seconds is None else {"wait_seconds": wait_seconds})
    with connect(context) as client:
        with faults_listed(file):
            planned = applying.plan(client, vm, spec)
            tell_findings(planned.findings)
            row = applying.apply(client, vm, spec, planned, timeout_of(context)).row
        if row is not None and wait:
            with no_longer_waiting(f"openngt customize show {row['vm_name']} --wait"):
                row = applying.follow(client, vm, row, spec["wait_seconds"], tell)
    conclude(row, output, judged=wait)


@app.command(name="show")
def show_one(context: typer.Context, vm: Vm, wait: WaitForEnd = False, output: Output = Form.table) -> None:
    """Show how far a VM is with it; with --wait its end, exit status 1 when that is not `done`."""
    with connect(context) as client:
        row = client.customization(vm)
        if wait:
            row = applying.follow(client, vm, row, WAIT_SECONDS, tell)
    conclude(row, output, judged=wait)


@app.command(name="list")
def list_all(
    context: typer.Context,
    state: Annotated[list[str] | None, typer.Option("--state", help="Only those in this state; may repeat.")] = None,
    output: Output = Form.table,
) -> None:
    """Show how far all VMs are with it."""
    unknown = set(state or ()) - set(applying.STATES)
    if unknown:
        message = f"--state: {', '.join(sorted(unknown))} is no state; there are {', '.join(applying.STATES)}"
        raise OpenNGTError("INVALID_INPUT", message)
    with connect(context) as client:
        rows = client.customizations()
    show_list([row for row in rows if not state or row["state"] in state], COLUMNS, output)


@app.command()
def withdraw(context: typer.Context, vm: Vm) -> None:
    """Take a disc out that still waits, and forget what the VM was given. The guest is not changed back."""
    with connect(context) as client:
        task = client.wait_task(client.withdraw_customization(vm), timeout_of(context))
    say(f"{vm}: {'withdrawn' if task['result']['withdrawn'] else 'nothing to withdraw'}")


@app.command()
def validate(context: typer.Context, file: File, output: Output = Form.table) -> None:
    """Find what is wrong with a file, with line, key and remedy; exit status 1 for an error.

    Needs no service, but for a file that names a datastore_path.
    """
    spec = read_spec(file)
    if needs_datastore(spec):
        with connect(context) as client:
            findings = client.validate_customization(spec)["findings"]
    else:
        findings = [finding.to_dict() for finding in made(spec, vm_of(file.stem, None, spec))[0]]
    if output is Form.table and not findings:
        say("nothing is wrong with it")
    else:
        show_list(findings, FINDINGS, output)
    if any(finding["severity"] == "error" for finding in findings):
        raise typer.Exit(1)


@app.command()
def build(
    file: File,
    path: Annotated[Path, typer.Argument(help="The ISO to make (0600).")],
    vm_name: Annotated[str, typer.Option(help="Name of the VM; the guest's, too, where the file gives no other.")],
    vm_uuid: Annotated[str | None, typer.Option(help="By default one that follows from the name.")] = None,
) -> None:
    """Make a VM's disc without any service, to be attached with whatever the hypervisor offers.

    It holds what the file holds, passwords too: whoever can read it has them. Delete it when the guest is through.
    """
    spec = read_spec(file)
    vm = vm_of(vm_name, vm_uuid, spec)
    found, media = made(spec, vm)
    findings = [finding.to_dict() for finding in found]
    with faults_listed(file):
        applying.demand(findings)
    tell_findings(findings)
    assert media is not None, "there is no error in it"
    write_media(media, str(path.absolute()))
    say(f"{path}: made for {vm.vm_name}, instance {vm.instance_id}")


def made(spec: Json, vm: MediaVm) -> tuple[list[Finding], Media | None]:
    """What is wrong with it, and unless something is the VM's media."""
    from openngt.customization.validation import validate as find_faults

    from ..customization.schema_files import published_schemas

    customization = parse(spec, no_datastore)
    findings = find_faults(customization, published_schemas())
    if any(finding.severity == "error" for finding in findings):
        return findings, None
    return findings, build_media(customization, vm)


def no_datastore(_path: str) -> bytes:
    raise OpenNGTError("INVALID_INPUT", "only a service has a datastore", remedy="give src, a file on this machine")


def read_spec(file: Path) -> Json:
    """The file's content in the API's form. INVALID_INPUT names line or field, never a value."""
    try:
        text = file.read_bytes()[: MOST_BYTES + 1]
    except OSError as exc:
        raise OpenNGTError("INVALID_INPUT", f"{file} cannot be read: {exc.strerror}") from exc
    if len(text) > MOST_BYTES:
        raise OpenNGTError("INVALID_INPUT", f"{file} is longer than {MOST_BYTES} bytes; give what is large as src")
    try:
        found = yaml.load(text, Loader)  # noqa: S506  a safe one
    except (yaml.YAMLError, RecursionError, ValueError) as exc:
        mark = getattr(exc, "problem_mark", None)
        where = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        raise OpenNGTError("INVALID_INPUT", f"{file} is no YAML{where}") from None  # its text may quote a secret
    if not isinstance(found, Mapping) or not all(isinstance(key, str) for key in found):
        raise OpenNGTError("INVALID_INPUT", f"{file} has to be a mapping of names, as options and scripts")
    return resolve(found, read_beside(file.absolute().parent))


def vm_of(vm_name: str, vm_uuid: str | None, spec: Mapping[str, Any]) -> MediaVm:
    """Made twice it is the same VM to the guest, so a disc that is made again is not done again."""
    known = vm_uuid or str(uuid.uuid5(uuid.NAMESPACE_DNS, vm_name))
    return MediaVm(known, vm_name, str(spec.get("instance_id") or f"i-{known}"))


def timeout_of(context: typer.Context) -> float:
    """For what the service does before the guest has its turn."""
    connection = context.find_object(Connection)
    assert connection is not None, "the root command has set it"
    return connection.timeout


@contextlib.contextmanager
def faults_listed(file: Path) -> Iterator[None]:
    """What is wrong with the file is said line by line, before it fails for that."""
    try:
        yield
    except OpenNGTError as error:
        lines = error.details.get("findings")
        if error.code != "CUSTOMIZATION_INVALID" or not lines:
            raise
        for line in lines:
            say(line)
        raise OpenNGTError(error.code, f"{file} is not right", remedy="correct these; nothing was written") from error


def tell(row: Mapping[str, Any]) -> None:
    say(f"{row['vm_name']}: {row['state']}")


def tell_findings(findings: Sequence[Json]) -> None:
    for line in applying.readable(findings):
        say(line)


def conclude(row: Json | None, output: Form, *, judged: bool) -> None:
    """Show the row; with `judged` a failure in it is raised after that."""
    if row is not None:
        show(row, COLUMNS, output)
    failure = applying.failure_of(row) if judged else None
    if failure is not None:
        raise failure
