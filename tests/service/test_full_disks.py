# SPDX-License-Identifier: GPL-3.0-or-later
"""File systems without a byte left: the guest's (F7) and the service's (F8). Real processes on small file systems.

What is refused is refused by name, what lives on lives on, and all is well again by itself when there is space.
"""

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.agent_process import AgentProcess
from tests.fakes.service import ServiceProcess
from tests.fakes.small_disk import MAY_MOUNT, SmallDisk
from tests.fakes.waiting import PATIENCE_SECONDS, until

from openngt.agent import identity
from openngt.client import Client
from openngt.errors import OpenNGTError

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not MAY_MOUNT, reason="only root may mount a small file system")]

STATE_KIB = 128 * 1024
"""Enough for an ISO and what is kept free beside it."""
Json = dict[str, Any]


def code_of(work: Callable[[], Any]) -> str | None:
    try:
        work()
    except OpenNGTError as exc:
        assert exc.remedy
        return exc.code
    return None


class World:
    """A service, a VM and its agent, each on a file system of its own."""

    def __init__(self, folder: Path) -> None:
        (folder / "service").mkdir()
        self.service = ServiceProcess(folder / "service", {"log_level": "warning"})
        self.state = SmallDisk(self.service.state_dir, STATE_KIB)
        self.guest = SmallDisk(folder / "guest", 512)
        self.agent = AgentProcess(self.guest.folder)
        self.vm = str(uuid.uuid4())

    def begin(self, client: Client) -> None:
        self.service.hypervisor.add(self.vm, "web1", {"cd0": None})
        client.enable(self.vm)
        self.agent.install(self.service, client, self.vm)
        self.agent.start()
        until(lambda: client.vm(self.vm)["communication_link_active"], "the link")

    def beats(self, client: Client) -> None:
        """A heartbeat of the session that has been there all the time."""
        link = client.vm(self.vm)["link"]
        found = until(lambda: newer(client.vm(self.vm)["link"], link), "a heartbeat")
        assert found["session"] == link["session"]

    def refresh(self, client: Client) -> Json:
        """The VM's row of a refresh over the link that has ended."""
        task = client.refresh(vm=[self.vm], via="link")
        code_of(lambda: client.wait_task(task, PATIENCE_SECONDS))
        [row] = client.refresh_rows(task["task_id"])
        return row


def newer(link: Json, than: Json) -> Json | None:
    return link if link["last_seen"] > than["last_seen"] else None


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    with made.state, made.guest:
        made.service.start()
        try:
            yield made
        finally:
            made.agent.stop()
            made.service.stop()


def test_a_guest_without_space_stays_linked_and_keeps_the_certificate_that_it_has(world: World) -> None:
    """F7."""
    with world.service.client() as client:
        world.begin(client)
        before = identity.load(world.agent.paths)
        world.guest.fill()
        refused = world.refresh(client)
        assert (refused["state"], refused["code"]) == ("failed", "NO_SPACE"), refused
        assert "guest" in refused["message"] or "agent" in refused["message"], refused
        assert identity.load(world.agent.paths) == before
        world.beats(client)
        assert code_of(lambda: client.enable(world.vm, {"vss_snapshot": False})) is None, (
            "it still does what it is told"
        )
        restarted = client.vm(world.vm)["link"]["session"]
        world.agent.stop()
        world.agent.start()
        until(lambda: fresh(client.vm(world.vm), restarted), "an agent that starts with a full disk")
        world.guest.relieve()
        assert world.refresh(client)["state"] == "refreshed"
        until(lambda: identity.load(world.agent.paths).generation > before.generation, "the new certificate")
        until(lambda: client.vm(world.vm)["communication_link_active"], "the link with it")
        left = [path.name for path in (world.guest.folder / "usr/local/openngt/config").iterdir()]
        assert not [name for name in left if name.endswith(".partial")], left


def fresh(vm: Json, before: str) -> bool:
    return vm["communication_link_active"] and vm["link"]["session"] != before


def test_a_service_without_space_refuses_by_name_serves_who_is_linked_and_heals(world: World) -> None:
    """F8."""
    with world.service.client() as client:
        world.begin(client)
        world.state.fill()
        # Free pages of the database's own files are used up first.
        until(lambda: code_of(lambda: client.issue_batch([{"vm_uuid": world.vm}] * 50)) == "NO_SPACE", "a full disk")
        writes: dict[str, Callable[[], Any]] = {
            "issue": lambda: client.issue_batch([{"vm_uuid": world.vm}] * 50),
            "mount": lambda: client.wait_task(client.mount(world.vm, "me", 60), PATIENCE_SECONDS),
            "refresh": lambda: client.wait_task(client.refresh(vm=[world.vm], via="iso"), PATIENCE_SECONDS),
        }
        told = {name: code_of(write) for name, write in writes.items()}
        assert set(told.values()) == {"NO_SPACE"}, told
        world.beats(client)
        assert [vm["vm_uuid"] for vm in client.vms()] == [world.vm], "what is only read is answered"
        assert client.hypervisor_vms() and client.health() is not None
        world.state.relieve()
        until(lambda: code_of(writes["issue"]) is None, "a certificate")
        assert code_of(writes["mount"]) is None
        world.beats(client)
        assert world.service.command("audit", "verify").returncode == 0
        assert [path.name for path in world.service.state_dir.rglob("*.partial")] == []


def test_a_service_that_cannot_start_for_want_of_space_says_so_and_starts_when_there_is_some(world: World) -> None:
    """F8."""
    with world.service.client() as client:
        world.begin(client)
    world.service.stop()
    world.state.fill()
    process = world.service.launch()
    status = process.wait(PATIENCE_SECONDS)
    said = world.service.stderr
    assert status == 1 and "NO_SPACE" in said and "Traceback" not in said, (status, said)
    world.state.relieve()
    world.service.start()
    with world.service.client() as client:
        until(lambda: client.vm(world.vm)["vm_name"] == "web1", "the VM that was enrolled")
