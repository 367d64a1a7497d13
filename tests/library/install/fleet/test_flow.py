# SPDX-License-Identifier: GPL-3.0-or-later
"""One guest's installation: the phases, what each failure leaves, and that check mode leaves nothing at all."""

import os
from typing import Any

import pytest
from tests.fakes.scripted_guest import WELL_PLAN

from openngt import holder, link
from openngt.errors import OpenNGTError
from openngt.install.fleet.report import Row

from .conftest import FleetOfScripts

PHASES = ["enrol", "connect", "prerequisites", "mount", "install", "prove", "clean_up"]
WHOLE = ["vm.enable", "certificate.issue", "vm.mount", "certificate.issue", "certificate.promote", "vm.eject"]
NO_TAR = {"name": "tar", "state": "failed", "found": "not found", "wanted": "on PATH", "remedy": "install it"}
DEBIAN = "tar=/usr/bin/tar\nID=debian\nVERSION_ID=12\nNAME=Debian"


def one(fleet: FleetOfScripts, target: Any, **options: Any) -> Row:
    [row] = fleet.install(target, **options).rows
    return row


def test_from_nothing_to_a_proven_link_and_again(fleet: FleetOfScripts) -> None:
    target = fleet.add("web1")
    row = one(fleet, target)
    assert (row.state, row.changed, row.code) == ("installed", True, None), row
    assert list(row.seconds) == PHASES and [event.phase for event in fleet.events] == [*PHASES, None]
    assert fleet.verbs("web1") == WHOLE
    assert fleet.guests["web1"].words == ["go"]
    assert fleet.service.hypervisor.media() == []

    again = one(fleet, target)
    assert (again.state, again.changed, again.diff) == ("unchanged", False, {}), again
    assert fleet.verbs("web1") == WHOLE
    assert fleet.guests["web1"].words == ["go", "stop"]
    assert fleet.guests["web1"].closed == 2


def test_check_mode_foretells_and_touches_nothing(fleet: FleetOfScripts) -> None:
    target = fleet.add("web1")
    row = one(fleet, target, check=True)
    assert (row.state, row.message) == ("would_install", "no agent is installed")
    assert row.diff["before"] == {"ngt_enabled": False, "installed": False}
    assert row.diff["after"]["ngt_enabled"] and row.diff["after"]["installed"]
    assert fleet.client.vms() == [] and fleet.verbs("web1") == []
    assert fleet.guests["web1"].headers[0]["check"] is True
    assert fleet.guests["web1"].words == ["stop"]
    assert not (fleet.folder / "journal").exists()


def test_check_mode_refuses_what_the_mount_would_refuse(fleet: FleetOfScripts) -> None:
    row = one(fleet, fleet.add("web1", drive="users.iso"), check=True)
    assert (row.state, row.code) == ("failed", "NO_EMPTY_DRIVE")


def test_an_unmet_prerequisite_ends_it_before_anything_is_mounted(fleet: FleetOfScripts) -> None:
    row = one(fleet, fleet.add("web1", findings=[NO_TAR]))
    assert (row.state, row.phase, row.code) == ("failed", "prerequisites", "PREREQUISITES_NOT_MET"), row
    assert row.details["findings"] == [NO_TAR]
    assert fleet.verbs("web1") == ["vm.enable"]
    assert "go" not in fleet.guests["web1"].words and fleet.guests["web1"].closed == 1


def test_check_mode_does_not_demand_what_the_real_run_would_bring(fleet: FleetOfScripts) -> None:
    target = fleet.add("web1", findings=[NO_TAR])
    assert one(fleet, target, check=True).code == "PREREQUISITES_NOT_MET"
    assert one(fleet, target, check=True, install_prerequisites=True).state == "would_install"


def test_a_guest_without_python_is_judged_by_its_shell(fleet: FleetOfScripts) -> None:
    row = one(fleet, fleet.add("web1", shell=[DEBIAN]))
    assert (row.phase, row.code) == ("prerequisites", "PREREQUISITES_NOT_MET"), row
    assert [finding["name"] for finding in row.details["findings"]] == ["python"]


def test_a_python_that_does_not_start_is_passed_over_for_another(fleet: FleetOfScripts) -> None:
    row = one(fleet, fleet.add("web1", shell=[""]))
    assert row.state == "installed", row
    assert len(fleet.guests["web1"].commands) == 2


def test_where_no_python_starts_it_is_named_with_what_it_says(fleet: FleetOfScripts) -> None:
    row = one(fleet, fleet.add("web1", shell=["", f"broken=/usr/bin/python3: No module named 'json'\n{DEBIAN}"]))
    assert (row.phase, row.code) == ("prerequisites", "PREREQUISITES_NOT_MET"), row
    assert "python: /usr/bin/python3: No module named 'json' (it does not start)" in row.message
    assert "ansible_python_interpreter" in row.message


def test_python_is_brought_when_asked_and_the_same_connection_goes_on(fleet: FleetOfScripts) -> None:
    target = fleet.add("web1", shell=[DEBIAN])
    guest = fleet.guests["web1"]
    foretold = one(fleet, target, check=True, install_prerequisites=True)
    assert (foretold.state, "would install python with apt-get" in foretold.message) == ("would_install", True)
    assert len(guest.commands) == 1

    guest.shell.append(DEBIAN)
    row = one(fleet, target, install_prerequisites=True)
    assert row.state == "installed", row
    assert [("apt-get" in command) for command in guest.commands[1:]] == [False, True, False]


def test_a_package_manager_that_fails_is_quoted(fleet: FleetOfScripts) -> None:
    target = fleet.add("web1", shell=[DEBIAN], exit_status=100)
    row = one(fleet, target, install_prerequisites=True)
    assert (row.phase, row.code, row.details["rc"]) == ("prerequisites", "COMMAND_FAILED", 100), row


@pytest.mark.parametrize(
    ("lost_in", "phase", "verbs"),
    [
        ("prerequisites", "prerequisites", ["vm.enable"]),
        ("plan", "prerequisites", ["vm.enable"]),
        ("install", "install", ["vm.enable", "certificate.issue", "vm.mount", "vm.eject"]),
    ],
)
def test_a_guest_that_dies_is_a_failure_of_that_phase_and_its_disc_is_ejected(
    fleet: FleetOfScripts, lost_in: str, phase: str, verbs: list[str]
) -> None:
    row = one(fleet, fleet.add("web1", lost_in=lost_in))
    assert (row.state, row.phase, row.code) == ("failed", phase, "GUEST_CONNECTION_LOST"), row
    assert fleet.verbs("web1") == verbs
    assert fleet.service.hypervisor.media() == []


def test_what_the_guest_tells_of_its_failure_is_the_rows(fleet: FleetOfScripts) -> None:
    def refuse(_go: dict[str, Any]) -> dict[str, Any]:
        raise OpenNGTError("NO_SPACE", "/usr/local is full", {"path": "/usr/local"})

    row = one(fleet, fleet.add("web1", install=refuse))
    assert (row.phase, row.code, row.message) == ("install", "NO_SPACE", "/usr/local is full")
    assert row.details == {"path": "/usr/local"} and row.remedy
    assert fleet.verbs("web1")[-1] == "vm.eject"


def test_a_link_that_does_not_come_is_told_by_both_sides(fleet: FleetOfScripts) -> None:
    def unlinked(_go: dict[str, Any]) -> dict[str, Any]:
        raise OpenNGTError("LINK_NOT_ACTIVE", "no link within 1 s", {"agent": "waits"})

    row = one(fleet, fleet.add("web1", install=unlinked), wait_seconds=1)
    assert (row.phase, row.code) == ("prove", "LINK_NOT_ACTIVE"), row
    assert row.details["guest_saw"] == {"agent": "waits"}
    assert row.details["service_saw"][0]["missing"] == "no active link"
    assert fleet.service.hypervisor.media() == []


def test_a_link_that_comes_after_the_guest_gave_up_is_proven(fleet: FleetOfScripts) -> None:
    def late(_go: dict[str, Any]) -> dict[str, Any]:
        fleet.run_agent("web1")
        raise OpenNGTError("LINK_NOT_ACTIVE", "no link within 1 s", {})

    assert one(fleet, fleet.add("web1", install=late)).state == "installed"


def test_the_agent_of_another_version_is_installed_by_the_controllers_own(fleet: FleetOfScripts) -> None:
    """The guest finds another agent on the disc than the controller vouches for, and asks for the controller's."""
    target = fleet.add("web1")
    guest = fleet.guests["web1"]
    guest.wants_agent = True
    assert one(fleet, target).state == "installed"
    [sent] = [line for line in guest.headers if "agent" in line]
    assert len(sent["agent"]) > 10_000


def test_a_vm_that_is_off_fails_before_it_is_enrolled(fleet: FleetOfScripts) -> None:
    row = one(fleet, fleet.add("web1", power_state="off"))
    assert (row.phase, row.code) == ("enrol", "VM_POWERED_OFF")
    assert fleet.verbs("web1") == [] and fleet.guests["web1"].commands == []


def test_a_login_that_is_refused_is_that_rows_alone(fleet: FleetOfScripts) -> None:
    target = fleet.add("web1")
    fleet.refusals["web1"] = OpenNGTError("GUEST_LOGIN_FAILED", "web1: the password is wrong")
    row = one(fleet, target)
    assert (row.phase, row.code) == ("connect", "GUEST_LOGIN_FAILED")
    assert fleet.guests["web1"].commands == []


def test_the_disc_that_a_dead_run_has_left_is_taken_over(fleet: FleetOfScripts) -> None:
    target = fleet.add("web1")
    fleet.client.enable(fleet.uuid_of("web1"))
    dead = holder.describe(os.getpid(), "fleet")[:-8] + "00000000"
    fleet.client.wait_task(fleet.client.mount("web1", dead, 600), 60)
    assert one(fleet, target).state == "installed"
    assert fleet.service.hypervisor.media() == []


def test_what_another_living_run_holds_is_left_to_it(fleet: FleetOfScripts) -> None:
    target = fleet.add("web1")
    fleet.client.enable(fleet.uuid_of("web1"))
    fleet.client.wait_task(fleet.client.mount("web1", "somebody else", 600), 60)
    row = one(fleet, target)
    assert (row.phase, row.code, row.details["holder"]) == ("mount", "VM_BUSY", "somebody else")
    assert fleet.client.vm("web1")["mount"]["holder"] == "somebody else"


def test_a_disc_that_a_dead_run_left_in_a_well_guest_is_ejected(fleet: FleetOfScripts) -> None:
    target = fleet.add("web1", plan=dict(WELL_PLAN))
    fleet.client.enable(fleet.uuid_of("web1"))
    fleet.run_agent("web1")
    link.wait_for_links(fleet.client, ["web1"], 60)
    dead = holder.describe(os.getpid(), "fleet")[:-8] + "00000000"
    fleet.client.wait_task(fleet.client.mount("web1", dead, 600), 60)
    row = one(fleet, target)
    assert row.state == "unchanged", row
    assert fleet.service.hypervisor.media() == []


def test_a_guest_that_takes_too_long_is_given_up(fleet: FleetOfScripts) -> None:
    row = one(fleet, fleet.add("web1"), host_seconds=1e-9)
    assert (row.state, row.code) == ("failed", "GUEST_TIMED_OUT")
    assert "host_seconds" in row.message


@pytest.mark.parametrize("line", [b"[]", b"nonsense", b'{"phase": "install"}'])
def test_a_program_that_speaks_otherwise_is_told_of(fleet: FleetOfScripts, line: bytes) -> None:
    target = fleet.add("web1")
    fleet.guests["web1"].instead_of_plan = line
    row = one(fleet, target)
    assert (row.phase, row.code) == ("prerequisites", "PROTOCOL_ERROR"), row


def test_a_program_that_ends_early_is_quoted(fleet: FleetOfScripts) -> None:
    target = fleet.add("web1", exit_status=1)
    fleet.guests["web1"].silent = True
    row = one(fleet, target)
    assert (row.code, row.details["exit_status"]) == ("COMMAND_FAILED", 1), row
