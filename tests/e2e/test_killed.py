# SPDX-License-Identifier: GPL-3.0-or-later
"""Killed in the middle, by SIGKILL: the next run ends in the same place, nothing is there twice, nothing is left."""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from openngt.client import Client
from openngt_service.lab.demo_views import compare, guest_view, service_view
from openngt_service.lab.service_process import ServiceProcess
from openngt_service.lab.vm import LabVm

from ..conftest import ROOT
from .conftest import Guests, restore
from .hands import drives, eject, isos, mount, said, until
from .plays import Ansible

pytestmark = [pytest.mark.guest, pytest.mark.usefixtures("restored")]

AGENT_SOURCE = ROOT / "plugins/module_utils/openngt/agent"
ATTEMPTS = 3
Failpoints = Callable[[Path], set[str]]

# In the order in which a run comes to them; before some, the guest is brought to where the step is needed at all.
INSTALL = (
    "begin",
    "agent",
    "compiled",
    "identity",
    "config",
    "current",
    "command",
    "unit",
    "port",
    "enable",
    "reload",
    "start",
)
AFTER_START = ("finish", "prune", "link")
UNINSTALL = ("stop", "unit", "port", "reload", "command", "runtime", "home")
NEEDED_FOR = {
    "agent.install.config": "rm /usr/local/openngt/config/ngt_config.json",
    "agent.install.prune": "mkdir /usr/local/openngt/agent/0.0.1",
    "agent.install.link": "systemctl stop ngt_guest_agent.service",
    "agent.uninstall.runtime": "mkdir -p /run/openngt",  # systemd has taken it away with the service
}


def kill_at_each(vm: LabVm, steps: Sequence[str], operation: str, command: str) -> dict[str, int]:
    """Run the command once for each step, killed there; the exit status that each run had."""
    lines = []
    for step in steps:
        point = f"agent.{operation}.{step}"
        lines.append(NEEDED_FOR.get(point, ":"))
        lines.append(f"OPENNGT_FAILPOINT={point} {command} >/dev/null 2>&1; echo {step}=$?")
    told = said(vm, "\n".join(lines), timeout=900)
    return {step: int(status) for step, status in (line.split("=") for line in told.splitlines())}


# The agent's suite kills at each step as well; what only a real guest has is systemd, so its steps stay.
@pytest.mark.parametrize(
    ("steps", "backwards"),
    [
        pytest.param(("unit", "enable", "start", "link"), ("stop", "reload"), id="systemd"),
        pytest.param((*INSTALL, *AFTER_START), UNINSTALL, id="each", marks=pytest.mark.nightly),
    ],
)
def test_the_agents_installer_and_uninstaller_converge_from_a_kill_at_their_steps(
    guests: Guests, client: Client, failpoints: Failpoints, steps: tuple[str, ...], backwards: tuple[str, ...]
) -> None:
    vm = guests.web
    assert failpoints(AGENT_SOURCE / "install_steps.py") == {
        f"agent.install.{step}" for step in (*INSTALL, *AFTER_START)
    }
    assert failpoints(AGENT_SOURCE / "uninstall.py") == {f"agent.uninstall.{step}" for step in UNINSTALL}
    pinned = mount(client, vm)["ca_sha256"]
    install = f"python3 /mnt/agent/ngt_agent.pyz install --source /mnt --ca-sha256 {pinned} --wait 180"
    said(vm, "cp /mnt/agent/ngt_agent.pyz /root")

    killed = kill_at_each(vm, steps, "install", install)

    assert killed == dict.fromkeys(steps, 128 + signal.SIGKILL)
    assert said(vm, install).endswith("Nothing to do.")
    assert said(vm, "ls -A /usr/local/openngt/agent").split() == ["0.1.0", "current", "proven"]
    assert said(vm, "pgrep -fc 'ngt_agent.pyz run'") == "1"
    assert said(vm, "find /usr/local /etc/systemd -name '.*' -type f") == ""
    eject(client, vm)

    uninstall = "python3 /root/ngt_agent.pyz uninstall"
    killed = kill_at_each(vm, backwards, "uninstall", uninstall)

    assert killed == dict.fromkeys(backwards, 128 + signal.SIGKILL)
    said(vm, uninstall)
    assert said(vm, "rm /root/ngt_agent.pyz; ls -d /usr/local/openngt /run/openngt /usr/local/bin/ngtcli || :") == ""
    assert said(vm, "systemctl list-units --all --no-legend 'ngt*'") == ""


@contextlib.contextmanager
def agent_starts_slowly(vm: LabVm) -> Iterator[None]:
    """The installer waits for its start, so that whoever looks in from time to time cannot miss it at work."""
    drop_in = "/run/systemd/system/ngt_guest_agent.service.d"
    said(vm, f"mkdir -p {drop_in} && printf '[Service]\\nExecStartPre=/bin/sleep 20\\n' >{drop_in}/slow.conf")
    try:
        yield
    finally:
        said(vm, f"rm -r {drop_in} && systemctl daemon-reload")


def test_a_play_killed_with_its_disc_in_the_drive_and_again_while_it_installs_is_made_up_for_by_the_next(
    guests: Guests, service: ServiceProcess, client: Client, ansible: Ansible
) -> None:
    vm = guests.web

    def killed_when(condition: Callable[[], bool], what: str) -> bool:
        """False: it had come to its end before anybody saw it there."""
        process = ansible.start("openngt.guest_tools.install", "--limit", "web")
        try:
            until(lambda: process.poll() is not None or condition(), what)
            return process.returncode is None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()

    def mounted() -> bool:
        found = client.vms([vm.vm_uuid])
        return bool(found and found[0]["tools_iso_mounted"])

    def installing(first_holder: str) -> bool:
        """From the second run's own disc: what the first one began in the guest may go on there without it."""
        held = client.vm(vm.vm_uuid)["mount"]
        taken_over = held is not None and held["holder"] != first_holder
        return taken_over and vm.ssh("test -e /usr/local/openngt/agent").returncode == 0

    def both_killed() -> bool:
        if not killed_when(mounted, "the mount"):
            return False
        assert isos(service.state) == [f"{vm.vm_uuid}.iso"]
        first = client.vm(vm.vm_uuid)["mount"]["holder"]
        return killed_when(lambda: installing(first), "the installer's work")

    for _ in range(ATTEMPTS):
        with agent_starts_slowly(vm):
            if both_killed():
                break
        restore(guests, service)
    else:
        pytest.fail("each run was too fast, or its guest's half went on alone and left the next one nothing to install")

    ansible.play("install", "--limit", "web").succeeded()

    record = client.vm(vm.vm_uuid)
    assert [row for row in compare("web", service_view(record), guest_view(vm)) if not row.agrees] == []
    assert record["communication_link_active"] and record["certificate"]["kind"] == "link", record
    assert isos(service.state) == []
    assert drives(client, vm) == {"cd0": None, "cd1": None}
    assert vm.ssh("findmnt -rno TARGET -t iso9660").stdout == ""
    assert said(vm, "pgrep -fc 'ngt_agent.pyz run'") == "1"
