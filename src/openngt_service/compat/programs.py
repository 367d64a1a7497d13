# SPDX-License-Identifier: GPL-3.0-or-later
"""The original's tools as thin aliases over the client: each of their commands is a function that answers in lines."""

import getpass
import socket
import sys
import uuid
from collections.abc import Callable, Mapping, Sequence

from openngt.client import Client
from openngt.powering import VERBS, begin, failure_of, wait

from ..cli.vm import require_enrolled
from .arguments import Arguments, Command, required
from .formats import entity_lines, ngt_lines, vm_list_lines

__all__ = ["PROGRAMS"]

Commands = Mapping[tuple[str, ...], Command]

LEASE_SECONDS = 1800
WAIT_SECONDS = 120.0
VALIDITY_DAYS = 1000
POWER_SECONDS = 300


def holder() -> str:
    return f"{getpass.getuser()}@{socket.gethostname()} (openngt compat)"


def uuid_of(vm_id: str) -> str:
    """`<cluster>::<vm>` as `ncli ngt list` prints it, or the VM's UUID alone."""
    return vm_id.rpartition(":")[2].strip()


def the_vm(arguments: Arguments, usage: str) -> str:
    required(arguments.bare, "the VM's UUID", usage)
    return uuid_of(arguments.bare[0])


def mount_iso(client: Client, vm: str) -> None:
    client.wait_task(client.mount(vm, holder(), LEASE_SECONDS), WAIT_SECONDS)


# ncli ngt


def ngt_list(client: Client, arguments: Arguments) -> Sequence[str]:
    names = arguments.listed("vm-names", "vm-name")
    records = client.vms(names, vm_info=False)
    require_enrolled(names, records)
    return ngt_lines(records, client.ca()["cluster_uuid"])


def ngt_mount(client: Client, arguments: Arguments) -> Sequence[str]:
    required(arguments.listed("vm-id"), "vm-id=", "ncli ngt mount vm-id=ID")
    vm = uuid_of(arguments.named["vm-id"])
    mount_iso(client, vm)
    return ngt_lines([client.vm(vm)], client.ca()["cluster_uuid"])


def ngt_applications(wanted: bool) -> Callable[[Client, Arguments], Sequence[str]]:
    def change(client: Client, arguments: Arguments) -> Sequence[str]:
        names = arguments.listed("application-names")
        vms = arguments.listed("vm-id", "vm_id")
        usage = f"ncli ngt {'enable' if wanted else 'disable'}-applications application-names=NAMES vm-id=ID"
        required(names, "application-names=", usage)
        required(vms, "vm-id=", usage)
        # The original's name for self_service_restore.
        capabilities = {{"file_level_restore": "self_service_restore"}.get(name, name): wanted for name in names}
        record = client.enable(client.vm(uuid_of(vms[0]))["vm_uuid"], capabilities)
        return ngt_lines([record], client.ca()["cluster_uuid"])

    return change


NCLI: Commands = {
    ("ngt", "list"): Command(ngt_list, 'ncli ngt list [vm-names="NAME,…"]', frozenset({"vm-names", "vm-name"})),
    ("ngt", "mount"): Command(ngt_mount, "ncli ngt mount vm-id=ID", frozenset({"vm-id"})),
    # As the Nutanix Bible prints it.
    ("ngmt", "mount"): Command(ngt_mount, "ncli ngmt mount vm-id=ID", frozenset({"vm-id"})),
    ("ngt", "enable-applications"): Command(
        ngt_applications(True),
        "ncli ngt enable-applications application-names=NAMES vm-id=ID",
        frozenset({"application-names", "vm-id", "vm_id"}),
    ),
    ("ngt", "disable-applications"): Command(
        ngt_applications(False),
        "ncli ngt disable-applications application-names=NAMES vm-id=ID",
        frozenset({"application-names", "vm-id", "vm_id"}),
    ),
}


# nutanix_guest_tools_cli


def list_entities(client: Client, arguments: Arguments) -> Sequence[str]:
    names = arguments.listed("vm_name", "vm_names") + arguments.listed("vm_uuids", "vm_uuid")
    with_vm_info = arguments.flag("include_vm_info") or False
    records = client.vms(names)
    require_enrolled(names, records)
    lines: list[str] = []
    for record in records:
        lines += ["", *entity_lines(record, with_vm_info=with_vm_info)]
    return lines[1:]


def refresh_entities(client: Client, arguments: Arguments) -> Sequence[str]:
    """Here `threshold_days` is what the original makes of it: the life of the new certificate."""
    vms = [uuid_of(vm) for vm in arguments.listed("vm_uuids")]
    required(vms, "vm_uuids=", "nutanix_guest_tools_cli refresh_vm_tools_entity vm_uuids=UUID,… [threshold_days=N]")
    validity = arguments.number("threshold_days", VALIDITY_DAYS)
    for vm in vms:
        client.vm(vm)  # all are known, or none is touched
    tasks = [(vm, client.refresh(vm=[vm], validity_days=validity)["task_id"]) for vm in vms]
    return [f"VM-id : {vm} task_uuid : {uuid.UUID(task)}" for vm, task in tasks]


def delete_entity(client: Client, arguments: Arguments) -> Sequence[str]:
    client.disable(the_vm(arguments, "nutanix_guest_tools_cli delete_vm_tools_entity UUID"))
    return []


def create_entity(client: Client, arguments: Arguments) -> Sequence[str]:
    client.enable(the_vm(arguments, "nutanix_guest_tools_cli create_vm_tools_entity UUID"))
    return []


def mount_guest_tools(client: Client, arguments: Arguments) -> Sequence[str]:
    mount_iso(client, the_vm(arguments, "nutanix_guest_tools_cli mount_guest_tools UUID"))
    return []


def leader_location(client: Client, arguments: Arguments) -> Sequence[str]:
    """Where the admin API is that answers: one node leads itself."""
    client.ca()
    return [client.endpoint.removeprefix("https://")]


GUEST_TOOLS_CLI: Commands = {
    ("list_vm_tools_entities",): Command(
        list_entities,
        "nutanix_guest_tools_cli list_vm_tools_entities [include_vm_info=true] [vm_name=NAME]",
        frozenset({"include_vm_info", "vm_name", "vm_names", "vm_uuid", "vm_uuids"}),
    ),
    ("refresh_vm_tools_entity",): Command(
        refresh_entities,
        "nutanix_guest_tools_cli refresh_vm_tools_entity vm_uuids=UUID,… [threshold_days=N]",
        frozenset({"vm_uuids", "threshold_days"}),
    ),
    ("delete_vm_tools_entity",): Command(delete_entity, "nutanix_guest_tools_cli delete_vm_tools_entity UUID", bare=1),
    ("create_vm_tools_entity",): Command(create_entity, "nutanix_guest_tools_cli create_vm_tools_entity UUID", bare=1),
    ("mount_guest_tools",): Command(mount_guest_tools, "nutanix_guest_tools_cli mount_guest_tools UUID", bare=1),
    ("get_leader_location",): Command(leader_location, "nutanix_guest_tools_cli get_leader_location"),
    ("get_master_location",): Command(leader_location, "nutanix_guest_tools_cli get_master_location"),
}


# acli


def vm_list(client: Client, arguments: Arguments) -> Sequence[str]:
    on = arguments.flag("power_state")
    vms = client.hypervisor_vms()
    return vm_list_lines([vm for vm in vms if on is None or (vm["power_state"] != "off") is on])


def vm_power(verb: str) -> Callable[[Client, Arguments], Sequence[str]]:
    def act(client: Client, arguments: Arguments) -> Sequence[str]:
        required(arguments.bare, "the VM", f"acli vm.{verb} VM[,VM…]")
        vms = [vm.strip() for vm in arguments.bare[0].split(",") if vm.strip()]
        outcome = wait(client, begin(client, {"vm": vms, "verb": verb, "wait_seconds": POWER_SECONDS}))
        for row in outcome.rows:
            if row["state"] == "switched":
                sys.stdout.write(f"{row['vm']}: complete\n")
        failure = failure_of(outcome)
        if failure is not None:
            raise failure
        return []

    return act


ACLI: Commands = {
    ("vm.list",): Command(vm_list, "acli vm.list [power_state=true|false]", frozenset({"power_state"})),
    **{(f"vm.{verb}",): Command(vm_power(verb), f"acli vm.{verb} VM[,VM…]", bare=1) for verb in VERBS},
}


# ncc


def run_checks(*names: str) -> Callable[[Client, Arguments], Sequence[str]]:
    def act(client: Client, arguments: Arguments) -> Sequence[str]:
        task = client.wait_task(client.run_health(names), WAIT_SECONDS)
        return client.health_text(task["task_id"]).splitlines()

    return act


NGT_CHECKS = ("health_checks", "ngt_checks")
NCC: Commands = {
    **{
        (*NGT_CHECKS, name): Command(run_checks(name), f"ncc health_checks ngt_checks {name}")
        for name in ("ngt_client_cert_expiry_check", "ngt_installer_version_check")
    },
    (*NGT_CHECKS, "run_all"): Command(run_checks(), "ncc health_checks ngt_checks run_all"),
}

PROGRAMS: Mapping[str, Commands] = {
    "ncli": NCLI,
    "nutanix_guest_tools_cli": GUEST_TOOLS_CLI,
    "acli": ACLI,
    "ncc": NCC,
}
"""Name of the tool -> its commands."""
