# SPDX-License-Identifier: GPL-3.0-or-later
"""Wrong clocks: of guests (T15), and of the service's host while it runs (F15). Real processes under libfaketime."""

import datetime
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from plugins.module_utils.link import wait_for_links
from tests.fakes.agent_process import AgentProcess
from tests.fakes.service import ServiceProcess

from openngt.client import Client
from openngt.pki.authority import create_authority
from openngt_service.service_certificates import ensure_server_certificate

FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
pytestmark = pytest.mark.skipif(FAKETIME is None, reason="libfaketime is not installed")

VM = "{}f2b1a9c-0d3e-4f5a-8b7c-1234567890ab"
SKEWS = {"-10y": False, "-1d": True, "-5m": True, "+5m": True, "+1d": True, "+10y": False}
"""Of a guest's clock -> whether its agent can connect. Certificates begin a day before they are made."""
LIMIT_SECONDS = 120


@pytest.fixture
def faked(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """A context in which processes are begun that live by another time. What runs already is not touched."""

    def begin(start: Callable[[], None], **settings: str) -> None:
        with monkeypatch.context() as patch:
            values = {"LD_PRELOAD": str(FAKETIME), **settings}
            for name, value in values.items():
                patch.setenv(name, value)
            start()

    return begin


@pytest.fixture
def service(tmp_path: Path) -> Iterator[ServiceProcess]:
    (tmp_path / "service").mkdir()
    made = ServiceProcess(tmp_path / "service")
    yield made
    made.stop()


@pytest.fixture
def agents(tmp_path: Path) -> Iterator[dict[str, AgentProcess]]:
    made: dict[str, AgentProcess] = {}
    yield made
    for agent in made.values():
        agent.stop()


def install(service: ServiceProcess, client: Client, folder: Path, name: str, number: int) -> AgentProcess:
    """Enrolled and with a long-lived identity; not started."""
    vm_uuid = VM.format(number)
    service.hypervisor.add(vm_uuid, name, {"cd0": None})
    client.enable(vm_uuid)
    (folder / name).mkdir()
    agent = AgentProcess(folder / name)
    agent.install(service, client, vm_uuid)
    return agent


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + LIMIT_SECONDS
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.2)


def last_error(agent: AgentProcess) -> dict[str, Any]:
    status: dict[str, Any] = json.loads(Path(agent.paths.status).read_bytes())
    return status["link"]["last_error"] or {"code": None, "message": ""}


def skew(client: Client) -> dict[str, str]:
    """What the check finds now: VM -> state."""
    client.wait_task(client.run_health(["ngt_clock_skew_check"]), 60)
    [check] = [check for check in client.health() if check["name"] == "ngt_clock_skew_check"]
    return {item["vm_name"]: item["state"] for item in check["items"]}


def test_a_guest_whose_clock_is_wrong_connects_and_is_refreshed_or_says_why_not(
    service: ServiceProcess, agents: dict[str, AgentProcess], faked: Callable[..., Any], tmp_path: Path
) -> None:
    """T15: {-10 y, -1 d, -5 min, +5 min, +1 d, +10 y} x {connect, refresh}."""
    service.start()
    good = [name for name, connects in SKEWS.items() if connects]
    with service.client() as client:
        for number, name in enumerate(SKEWS):
            agents[name] = install(service, client, tmp_path, name, number)
            faked(agents[name].start, FAKETIME=name)
        wait_for_links(client, good, LIMIT_SECONDS)
        task = client.refresh(vm=good, via="link")
        assert client.wait_task(task, LIMIT_SECONDS)["result"] == {"refreshed": 4}
        wait_for_links(client, good, LIMIT_SECONDS)
        found = skew(client)
        assert set(found) == set(good) and found["-1d"] == found["+1d"] == "FAIL", "five minutes are at the edge"
        for name in set(SKEWS) - set(good):
            until(lambda agent=agents[name]: last_error(agent)["code"])
            assert "certificate" in last_error(agents[name])["message"], last_error(agents[name])
            assert not client.vm(name)["communication_link_active"]


def test_a_jump_of_the_services_clock_ends_no_lease_no_link_and_renews_nothing(
    service: ServiceProcess, agents: dict[str, AgentProcess], faked: Callable[..., Any], tmp_path: Path
) -> None:
    """F15: +-1 h and +-5 y, there and back again."""
    clock = tmp_path / "clock"
    clock.write_text("+0")
    # Time that passes goes on as it does. (A guest's is off by as much: sleep() of Python 3.11 wants both to agree.)
    steady = {"FAKETIME_DONT_FAKE_MONOTONIC": "1", "FAKETIME_NO_CACHE": "1"}
    faked(service.start, FAKETIME_TIMESTAMP_FILE=str(clock), **steady)
    with service.client() as client:
        for number, name in enumerate(("web1", "web2")):
            agents[name] = install(service, client, tmp_path, name, number)
            agents[name].start()
        wait_for_links(client, list(agents), LIMIT_SECONDS)
        held = VM.format(9)
        service.hypervisor.add(held, "db1", {"cd0": None})
        client.enable(held)
        client.wait_task(client.mount(held, "a test", 600), 60)
        before = {name: client.vm(name)["certificate"]["serial"] for name in agents}
        issued = [row["sequence"] for row in client.audit() if row["verb"] == "certificate.issue"]
        for jump in ("+1h", "+0", "-1h", "+0", "+5y", "+0", "-5y", "+0"):
            jumps = service.stderr.count("clock_jumped")
            clock.write_text(jump)
            until(lambda jumps=jumps: service.stderr.count("clock_jumped") > jumps)
            time.sleep(1)  # two rounds of the reconciler
            assert client.vm("db1")["mount"]["holder"] == "a test", jump
            assert all(client.vm(name)["communication_link_active"] for name in agents), jump
            if jump.endswith("1h"):
                agents["web1"].stop()
                agents["web1"].start()
                until(lambda: skew(client).get("web1") == "FAIL")
        assert {name: client.vm(name)["certificate"]["serial"] for name in agents} == before
        assert [row["sequence"] for row in client.audit() if row["verb"] == "certificate.issue"] == issued
        ends = datetime.datetime.fromisoformat(client.vm("db1")["mount"]["lease_ends"])
        left = ends - datetime.datetime.now(datetime.UTC)
        assert datetime.timedelta(0) < left < datetime.timedelta(seconds=600)
        for agent in agents.values():
            agent.stop()
            agent.start()
        wait_for_links(client, list(agents), LIMIT_SECONDS)


def test_a_certificate_of_a_clock_that_was_ahead_is_made_again(tmp_path: Path) -> None:
    now = datetime.datetime.now(datetime.UTC)
    authority = create_authority(tmp_path / "ca", common_name="test", now=now)
    later = now + datetime.timedelta(days=700)
    ahead = ensure_server_certificate(tmp_path / "api.pem", authority, ["a.example"], later)
    assert ensure_server_certificate(tmp_path / "api.pem", authority, ["a.example"], now) < ahead
