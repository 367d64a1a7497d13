# SPDX-License-Identifier: GPL-3.0-or-later
"""A connection that lives on for both ends while nothing comes through (F19); how fast: bench/timeouts.py."""

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.agent_process import AgentProcess
from tests.fakes.relay import Relay
from tests.fakes.service import ServiceProcess
from tests.fakes.waiting import PATIENCE_SECONDS, until

from openngt.agent import identity, runtime_status
from openngt.client import Client

pytestmark = pytest.mark.slow

Json = dict[str, Any]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    running = ServiceProcess(tmp_path_factory.mktemp("service"), {"log_level": "warning"})
    running.start()
    yield running
    running.stop()


class Guest:
    """A VM with the real agent, which reaches the service through a relay."""

    def __init__(self, service: ServiceProcess, client: Client, relay: Relay, folder: Path) -> None:
        self.client, self.relay = client, relay
        self.vm = str(uuid.uuid4())
        service.hypervisor.add(self.vm, f"web-{self.vm[:8]}", {"cd0": None})
        client.enable(self.vm)
        self.agent = AgentProcess(folder)
        self.agent.install(service, client, self.vm)
        path = Path(self.agent.paths.ngt_config)
        config = json.loads(path.read_text())
        path.write_text(json.dumps({**config, "port": self.relay.port}))

    def record(self) -> Json:
        return self.client.vm(self.vm)

    def link(self) -> Json:
        """As the agent has it."""
        status = runtime_status.read(self.agent.paths) or {}
        link: Json = status.get("link") or {}
        return link

    def linked(self, other_than: str | None = None) -> str:
        """The session, once both ends have it."""

        def both() -> Any:
            record = self.record()
            if record["communication_link_active"] and self.link().get("active"):
                return record["link"]["session"] != other_than and record["link"]["session"]
            return None

        session: str = until(both, "the link at both ends")
        return session


@pytest.fixture
def guest(service: ServiceProcess, tmp_path: Path) -> Iterator[Guest]:
    with service.client() as client, Relay(service.gateway_port) as relay:
        made = Guest(service, client, relay, tmp_path)
        made.agent.start()
        yield made
        made.agent.stop()


def test_both_ends_notice_and_meet_again(guest: Guest) -> None:
    first = guest.linked()
    guest.relay.lose()
    until(lambda: not guest.record()["communication_link_active"], "the service's end")
    until(lambda: guest.linked(other_than=first), "a new session")
    journal = (guest.agent.folder / "journal").read_text()
    assert "link ended" in journal and "heartbeat" in journal, journal


def test_what_was_asked_for_meanwhile_ends_with_a_code_and_can_be_repeated(guest: Guest) -> None:
    """F19: the refresh whose answer cannot come fails by name; whichever certificate the agent has by then is good."""
    first = guest.linked()
    guest.relay.lose()
    task = guest.client.refresh(vm=[guest.vm], via="link", wait_seconds=30)
    until(lambda: guest.client.task(task["task_id"], wait=5)["state"] in ("succeeded", "failed"), "the refresh")
    [row] = guest.client.refresh_rows(task["task_id"])
    assert row["state"] in ("refreshed", "failed"), row
    if row["state"] == "failed":
        assert row["code"] in ("LINK_NOT_ACTIVE", "AGENT_TIMED_OUT") and row["remedy"], row
    guest.linked(other_than=first)
    guest.client.wait_task(guest.client.refresh(vm=[guest.vm], via="link"), PATIENCE_SECONDS)
    until(lambda: identity.load(guest.agent.paths).generation == guest.record()["generation"], "one generation")
