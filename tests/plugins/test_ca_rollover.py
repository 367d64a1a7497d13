# SPDX-License-Identifier: GPL-3.0-or-later
"""Module and playbook `ca_rollover`, with the real service, real agents and real TLS: links stay up throughout."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.agent_process import AgentProcess
from tests.fakes.service import ServiceProcess

from openngt.agent import identity
from openngt.link import wait_for_links

from ..conftest import program
from .conftest import Fleet

RunTasks = Callable[..., list[dict[str, Any]]]
ROLLOVER, REFRESH = "openngt.guest_tools.ca_rollover", "openngt.guest_tools.refresh"
NAMES = ("web01", "web02")


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """A service of its own: its CA is another one afterwards."""
    (tmp_path / "service").mkdir()
    service = ServiceProcess(tmp_path / "service")
    service.start()
    with service.client() as client:
        yield Fleet(service, client, 0)
    service.stop()


@pytest.fixture
def agents(fleet: Fleet, tmp_path: Path) -> Iterator[dict[str, AgentProcess]]:
    made = {}
    for name in NAMES:
        vm_uuid = fleet.add_vm(name, enrolled=True)
        (tmp_path / name).mkdir()
        made[name] = AgentProcess(tmp_path / name)
        made[name].install(fleet.service, fleet.client, vm_uuid)
        made[name].start()
    wait_for_links(fleet.client, list(made), 60)
    yield made
    for agent in made.values():
        agent.stop()


def held(agents: dict[str, AgentProcess]) -> list[list[str]]:
    """By the guests' side."""
    return [identity.trusted(identity.load(agent.paths)) for agent in agents.values()]


def links(fleet: Fleet) -> list[bool]:
    with fleet.service.client() as client:
        return [client.vm(name)["communication_link_active"] for name in NAMES]


def test_each_step_and_its_check_mode(
    fleet: Fleet, agents: dict[str, AgentProcess], run_tasks: RunTasks, tmp_path: Path
) -> None:
    """Each step first in check mode, then twice; between them the agents are refreshed."""
    old = fleet.client.ca()["ca_sha256"]
    environment = {**fleet.environment, "OPENNGT_CA_FILE": str(tmp_path / "ca.pem")}
    shutil.copy(fleet.service.ca_file, tmp_path / "ca.pem")

    def take(step: str, **options: Any) -> dict[str, Any]:
        task = {ROLLOVER: {"step": step, **options}}
        predicted, done, again = run_tasks(
            [{**task, "check_mode": True}, task, task], diff=True, environment=environment
        )
        assert (predicted["changed"], done["changed"], again["changed"]) == (True, True, False)
        assert predicted["diff"] == done["diff"] and predicted["reason"] == done["reason"]
        (tmp_path / "ca.pem").write_text(done["ca_pem"])
        return done

    def refresh() -> None:
        [done] = run_tasks([{REFRESH: {"vm": list(NAMES)}}], environment=environment)
        assert [row["state"] for row in done["vms"]] == ["refreshed"] * 2 and links(fleet) == [True, True]

    [idle] = run_tasks([{ROLLOVER: {"step": "prepare"}}], environment=environment)
    assert not idle["changed"] and idle["reason"].startswith("not due before ")
    prepared = take("prepare", replaces=old)
    new = prepared["rollover"]["next"]["ca_sha256"]
    [refused] = run_tasks([{ROLLOVER: {"step": "activate"}, "ignore_errors": True}], environment=environment)
    assert refused["code"] == "CA_ROLLOVER_BLOCKED" and "2 VMs are not ready: web01, web02" in refused["msg"]
    assert [vm["remedy"] for vm in refused["details"]["vms"]] == [f"openngt refresh run {name}" for name in NAMES]
    refresh()
    assert held(agents) == [[old, new]] * 2
    assert take("activate")["rollover"]["signing"]["ca_sha256"] == new
    assert links(fleet) == [True, True], "no session is cut"
    refresh()
    assert held(agents) == [[new]] * 2
    assert take("retire")["rollover"]["phase"] == "none"
    for agent in agents.values():
        agent.stop()
        agent.start()
    wait_for_links(fleet.service.client(), list(agents), 60)
    assert fleet.service.client().ca()["trusted_ca_sha256"] == [new]


def play(fleet: Fleet, collection: Path, folder: Path, *arguments: str) -> tuple[int, str]:
    """How many tasks changed something, and what was said."""
    environment = {**os.environ, **fleet.environment, "OPENNGT_CA_FILE": str(folder / "ca.pem")}
    done = subprocess.run(
        [program("ansible-playbook"), "openngt.guest_tools.ca_rollover", *arguments],
        env={
            **environment,
            "ANSIBLE_COLLECTIONS_PATH": str(collection),
            "ANSIBLE_HOME": str(folder / "home"),
            "ANSIBLE_NOCOLOR": "true",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.search(r"ok=\d+ +changed=(\d+) .* failed=0", done.stdout)
    assert done.returncode == 0 and found, done.stdout + done.stderr
    return int(found[1]), done.stdout


def test_the_playbook_does_it_all_and_a_second_run_changes_nothing(
    fleet: Fleet, agents: dict[str, AgentProcess], collection: Path, tmp_path: Path
) -> None:
    old = fleet.client.ca()["ca_sha256"]
    shutil.copy(fleet.service.ca_file, tmp_path / "ca.pem")
    replaces = ("-e", f"openngt_ca_replaces={old}")
    changed, said = play(fleet, collection, tmp_path, *replaces, "--check")
    assert changed == 1 and "the next CA is made" in said and fleet.client.ca()["trusted_ca_sha256"] == [old]
    assert play(fleet, collection, tmp_path)[0] == 0, "it is not due"

    changed, said = play(fleet, collection, tmp_path, *replaces, "--tags", "prepare")
    assert changed == 3 and "Phase prepared" in said and "0 VMs behind" in said
    assert (tmp_path / "ca.pem").read_text().count("BEGIN CERTIFICATE") == 2
    changed, said = play(fleet, collection, tmp_path, *replaces)
    assert changed == 4 and "Phase none" in said and links(fleet) == [True, True]
    assert play(fleet, collection, tmp_path, *replaces)[0] == 0
    [new] = fleet.service.client().ca()["trusted_ca_sha256"]
    assert new != old and held(agents) == [[new]] * 2
    assert (tmp_path / "ca.pem").read_text() == Path(fleet.service.ca_file).read_text()
