# SPDX-License-Identifier: GPL-3.0-or-later
"""The original's commands, typed as its guide prints them, against a real service: out comes what it shows."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.fakes.service import ServiceProcess

from openngt_service.compat.arguments import Arguments, Command, parse
from openngt_service.compat.formats import entity_lines
from openngt_service.compat.programs import PROGRAMS

from .conftest import OTHER, VM, ended, prepared

UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
BLOCK = f"""
    VM Id                     : {UUID}::{VM}
    VM Name                   : web01
    NGT Enabled               : true
    Tools ISO Mounted         : false
    Vss Snapshot              : true
    File Level Restore        : true
    Communication Link Active : false
"""


class Hands:
    """Somebody at a shell where the commands were installed."""

    def __init__(self, service: ServiceProcess, folder: Path) -> None:
        self.service = service
        self.folder = folder

    def type(self, line: str) -> "subprocess.CompletedProcess[str]":
        environment = {**self.service.environment, "PATH": f"{self.folder}:/usr/bin:/bin"}
        return subprocess.run(["sh", "-c", line], env=environment, capture_output=True, text=True, check=False)

    def said(self, line: str) -> str:
        done = self.type(line)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def hands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hands]:
    service, folder = prepared(tmp_path_factory.mktemp("service")), tmp_path_factory.mktemp("bin")
    service.start()
    with service.client() as client:
        client.enable(VM)
    installed = service.cli("compat", "install", "--directory", str(folder))
    assert installed.stdout.split() == [str(folder / tool) for tool in PROGRAMS], installed.stderr
    yield Hands(service, folder)
    ended(service)


def test_ncli_lists_as_the_guide_prints_it(hands: Hands) -> None:
    assert re.fullmatch(BLOCK, hands.said("ncli ngt list"))
    assert re.fullmatch(BLOCK, hands.said('ncli ngt list vm-names="web01"'))
    unknown = hands.type('ncli ngt list vm-names="web01,The VM Two"')
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert unknown.stderr.startswith("Error: no guest tools are enabled for The VM Two [NOT_ENROLLED]\n")


def test_the_transport_is_what_grep_finds(hands: Hands) -> None:
    line = "nutanix_guest_tools_cli list_vm_tools_entities include_vm_info=true vm_name=web01 2>/dev/null"
    assert hands.said(f"{line}| grep 'communication_'").splitlines() == [
        "communication_link_active: false",
        "communication_type: kFallbackToIP",
        "communication_link_over_serial_port_active: false",
    ]


def test_an_entity_is_deleted_created_and_mounted_by_its_uuid(hands: Hands) -> None:
    cli = "nutanix_guest_tools_cli"
    try:
        hands.said(f"{cli} delete_vm_tools_entity {VM}")
        assert hands.said("ncli ngt list") == ""
        hands.said(f"{cli} create_vm_tools_entity {VM}")
        hands.said(f"{cli} mount_guest_tools {VM}")
        assert "Tools ISO Mounted         : true" in hands.said("ncli ngt list")
    finally:
        with hands.service.client() as client:
            client.disable(VM)
            client.enable(VM)


@pytest.mark.parametrize("word", ["ngt", "ngmt"])
def test_ncli_mounts_by_the_id_that_it_lists(hands: Hands, word: str) -> None:
    listed = re.search(rf"VM Id +: ({UUID}::{UUID})", hands.said("ncli ngt list"))
    assert listed is not None
    try:
        assert "Tools ISO Mounted         : true" in hands.said(f"ncli {word} mount vm-id={listed[1]}")
    finally:
        with hands.service.client() as client:
            client.disable(VM)
            client.enable(VM)


def test_applications_are_switched_by_their_old_names(hands: Hands) -> None:
    said = hands.said(f"ncli ngt disable-applications application-names=vss_snapshot,file_level_restore vm_id={VM}")
    assert "Vss Snapshot              : false" in said and "File Level Restore        : false" in said
    assert "Vss Snapshot              : true" in hands.said(
        f"ncli ngt enable-applications application-names=vss_snapshot,file_level_restore vm-id={VM}"
    )


def test_a_refresh_answers_with_a_task_for_each_vm_and_its_threshold_is_a_life(hands: Hands) -> None:
    said = hands.said(f"nutanix_guest_tools_cli refresh_vm_tools_entity vm_uuids={VM} threshold_days=500")
    found = re.fullmatch(rf"VM-id : {VM} task_uuid : ({UUID})\n", said)
    assert found is not None, said
    with hands.service.client() as client:
        assert client.task(found[1])["kind"] == "fleet_refresh"
    nobody = hands.type("nutanix_guest_tools_cli refresh_vm_tools_entity vm_uuids=" + "0" * 8 + f"-{VM[9:]},{VM}")
    assert (nobody.returncode, nobody.stdout) == (1, ""), "none is touched where one is unknown"


def test_the_leader_is_the_node_that_answers(hands: Hands) -> None:
    assert hands.said("nutanix_guest_tools_cli get_leader_location") == hands.service.endpoint[8:] + "\n"


def test_ncc_runs_a_check_and_says_its_state(hands: Hands) -> None:
    said = hands.said("ncc health_checks ngt_checks ngt_client_cert_expiry_check")
    assert re.search(r"^/health_checks/ngt_checks/ngt_client_cert_expiry_check +\[ PASS +\]$", said, re.MULTILINE), said
    assert "ngt_installer_version_check" not in said
    assert "ngt_installer_version_check" in hands.said("ncc health_checks ngt_checks run_all")


def test_acli_lists_and_switches_vms(hands: Hands) -> None:
    lines = hands.said("acli vm.list").splitlines()
    assert lines[0].split() == ["VM", "name", "VM", "UUID"]
    assert {tuple(line.split()) for line in lines[1:]} == {("web01", VM), ("=HYPERLINK(1)", OTHER)}
    assert hands.said("acli vm.off web01") == "web01: complete\n"
    assert VM not in hands.said("acli vm.list power_state=true")
    assert VM in hands.said("acli vm.list power_state=false")
    assert hands.said("acli vm.on web01") == "web01: complete\n"
    alone = hands.type("acli vm.guest_reboot web01")
    assert (alone.returncode, alone.stdout) == (1, "")
    assert "LINK_NOT_ACTIVE" in alone.stderr


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("ncli", "no command 'nothing'"),
        ("ncli ngt destroy", "no command 'ngt destroy'"),
        ("ncli ngt list colour=red", "colour=: unknown here"),
        ("ncli ngt list vm-names=a vm-names=b", "vm-names=: twice"),
        ("ncli ngt mount", "vm-id= is missing"),
        ("nutanix_guest_tools_cli delete_vm_tools_entity", "the VM's UUID is missing"),
        ("nutanix_guest_tools_cli delete_vm_tools_entity a b", "'b' is one word too many"),
        ("nutanix_guest_tools_cli refresh_vm_tools_entity vm_uuids=a threshold_days=-1", "give a whole number"),
        ("ncli ngt list vm-names=", "vm-names= is empty"),
        ("nutanix_guest_tools_cli refresh_vm_tools_entity vm_uuids=,", "vm_uuids= is empty"),
        ("acli vm.list power_state=maybe", "give true or false"),
    ],
)
def test_a_wrong_line_is_told_what_there_is(hands: Hands, line: str, says: str) -> None:
    done = hands.type(line)
    assert (done.returncode, done.stdout) == (1, "")
    error, remedy = done.stderr.splitlines()
    assert says in error and "[INVALID_INPUT]" in error
    assert (
        "usage: " in remedy
        or "one of: " in remedy
        or "correct the named field" in remedy
        or "or leave it out" in remedy
    )


def test_other_programs_of_these_names_are_left_alone_and_ours_go_again(hands: Hands, tmp_path: Path) -> None:
    (tmp_path / "acli").write_text("#!/bin/sh\n", encoding="ascii")
    done = hands.service.cli("compat", "install", "--directory", str(tmp_path))
    assert (done.returncode, "acli is another program [FILE_UNUSABLE]" in done.stderr) == (1, True)
    assert [path.name for path in tmp_path.iterdir()] == ["acli"]
    (tmp_path / "acli").unlink()
    assert hands.service.cli("compat", "install", "--directory", str(tmp_path)).returncode == 0
    (tmp_path / "ncli").write_text("mine now", encoding="ascii")
    removed = hands.service.cli("compat", "remove", "--directory", str(tmp_path))
    assert len(removed.stdout.split()) == len(PROGRAMS) - 1
    assert [path.name for path in tmp_path.iterdir()] == ["ncli"]


def test_a_value_may_hold_spaces_and_names_are_parted_by_commas() -> None:
    command = Command(lambda client, arguments: [], "list", frozenset({"vm-names"}))
    found, arguments = parse("ncli", {("ngt", "list"): command}, ["ngt", "list", "vm-names=The VM One, The VM Two,"])
    assert found is command
    assert arguments.listed("vm-names") == ["The VM One", "The VM Two"]
    assert Arguments().listed("vm-names") == []


def test_a_guest_that_says_anything_breaks_no_list_and_speaks_for_no_field_of_ours(hands: Hands) -> None:
    with hands.service.client() as client:
        record = client.vm(VM)
    says = {
        "vm_name": "another",
        "communication_link_active": True,
        "guest_os_name": "Debian",
        "network_interfaces": [
            "eth0",
            {"interface": "eth1", "mac_address": None, "ipv4": [{"ip_address": "192.0.2.7"}, {}], "ipv6": 6},
        ],
    }
    lines = entity_lines({**record, "vm_info": says}, with_vm_info=True)
    assert "vm_name: web01" in lines and "vm_name: another" not in lines
    assert "communication_link_active: false" in lines and "communication_link_active: true" not in lines
    assert lines[-2:] == ["guest_os_name: Debian", "network_interface: eth1 None 192.0.2.7 None"]
    assert entity_lines({**record, "vm_info": {"network_interfaces": "none"}}, with_vm_info=True)
