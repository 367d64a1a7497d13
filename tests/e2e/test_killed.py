# SPDX-License-Identifier: GPL-3.0-or-later
"""Killed in the middle, by SIGKILL: the next run ends in the same place, nothing is there twice, nothing is left."""

import signal
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from openngt.client import Client
from openngt_service.lab.vm import LabVm

from ..conftest import ROOT
from .conftest import Guests
from .hands import eject, mount, said

pytestmark = [pytest.mark.guest, pytest.mark.usefixtures("restored")]

AGENT_SOURCE = ROOT / "plugins/module_utils/openngt/agent"
Failpoints = Callable[[Path], set[str]]

# In the order in which a run comes to them; before some, the guest is brought to where the step is needed at all.
INSTALL = ("begin", "agent", "identity", "config", "current", "command", "unit", "reload", "enable", "start", "finish")
AFTER_INSTALL = ("prune", "link")
UNINSTALL = ("stop", "unit", "reload", "command", "runtime", "home")
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


def test_the_agents_installer_and_uninstaller_converge_from_a_kill_at_each_of_their_steps(
    guests: Guests, client: Client, failpoints: Failpoints
) -> None:
    vm, steps = guests.web, (*INSTALL, *AFTER_INSTALL)
    assert failpoints(AGENT_SOURCE / "install_steps.py") == {f"agent.install.{step}" for step in steps}
    assert failpoints(AGENT_SOURCE / "uninstall.py") == {f"agent.uninstall.{step}" for step in UNINSTALL}
    pinned = mount(client, vm)["ca_sha256"]
    install = f"python3 /mnt/agent/ngt_agent.pyz install --source /mnt --ca-sha256 {pinned} --wait 180"
    said(vm, "cp /mnt/agent/ngt_agent.pyz /root")

    killed = kill_at_each(vm, steps, "install", install)

    assert killed == dict.fromkeys(steps, 128 + signal.SIGKILL)
    assert said(vm, install).endswith("Nothing to do.")
    assert said(vm, "ls -A /usr/local/openngt/agent").split() == ["0.1.0", "current"]
    assert said(vm, "pgrep -fc 'ngt_agent.pyz run'") == "1"
    assert said(vm, "find /usr/local /etc/systemd -name '.*' -type f") == ""
    eject(client, vm)

    uninstall = "python3 /root/ngt_agent.pyz uninstall"
    killed = kill_at_each(vm, UNINSTALL, "uninstall", uninstall)

    assert killed == dict.fromkeys(UNINSTALL, 128 + signal.SIGKILL)
    said(vm, uninstall)
    assert said(vm, "rm /root/ngt_agent.pyz; ls -d /usr/local/openngt /run/openngt /usr/local/bin/ngtcli || :") == ""
    assert said(vm, "systemctl list-units --all --no-legend 'ngt*'") == ""
