# SPDX-License-Identifier: GPL-3.0-or-later
"""Clocks that are years off: a guest's (T15), and the service's, which jumps while agents are linked (F15).

Real agents and the real service as processes, each with a clock of its own.
"""

import asyncio
import datetime
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.agent_process import AgentProcess
from tests.fakes.service import ServiceProcess
from tests.fakes.swarm import Swarm
from tests.fakes.waiting import PATIENCE_SECONDS, until
from tests.fakes.wrong_clock import LIBRARY, WrongClock

from openngt import effects
from openngt.agent import identity, runtime_status
from openngt.client import Client
from openngt.errors import OpenNGTError

pytestmark = [pytest.mark.slow, pytest.mark.skipif(LIBRARY is None, reason="libfaketime is not installed")]

AGENTS = 20
SMALL = {"-1d": -86400, "-5m": -300, "+5m": 300, "+1d": 86400}
LARGE = ["-3650d", "+3650d"]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    running = ServiceProcess(tmp_path_factory.mktemp("service"), {"log_level": "warning"})
    running.start()
    yield running
    running.stop()


@pytest.fixture
def client(service: ServiceProcess) -> Iterator[Client]:
    with service.client() as client:
        yield client


@pytest.fixture
def guest(
    service: ServiceProcess, client: Client, tmp_path: Path
) -> Iterator[Callable[[str], tuple[str, AgentProcess]]]:
    """`guest(offset)`: a VM whose clock is off, and its agent, which has been started."""
    started: list[AgentProcess] = []

    def start(offset: str) -> tuple[str, AgentProcess]:
        vm = str(uuid.uuid4())
        service.hypervisor.add(vm, f"web-{offset}", {"cd0": None})
        client.enable(vm)
        folder = tmp_path / offset
        folder.mkdir()
        agent = AgentProcess(folder)
        agent.install(service, client, vm)
        with WrongClock(tmp_path / f"{offset}.clock", offset, steady=True).worn():
            agent.start()
        started.append(agent)
        return vm, agent

    yield start
    for agent in started:
        agent.stop()
        print((agent.folder / "journal").read_text())


@pytest.mark.parametrize("offset", SMALL)
def test_a_guest_whose_clock_is_a_day_off_connects_is_refreshed_and_is_named(
    client: Client, guest: Callable[[str], tuple[str, AgentProcess]], offset: str
) -> None:
    """T15."""
    vm, agent = guest(offset)
    record = until(lambda: active(client, vm), "the link")
    assert abs(record["link"]["clock_offset_seconds"] - SMALL[offset]) < 60
    task = client.refresh(vm=[vm], via="link")
    assert client.wait_task(task, PATIENCE_SECONDS)["result"]["refreshed"] == 1
    generation = identity.load(agent.paths).generation
    assert generation > record["generation"]
    until(lambda: (active(client, vm) or {}).get("generation") == generation, "the link with the new certificate")
    if abs(SMALL[offset]) > 300:
        client.wait_task(client.run_health(["ngt_clock_skew_check"]), PATIENCE_SECONDS)
        [check] = [check for check in client.health() if check["name"] == "ngt_clock_skew_check"]
        assert check["state"] != "PASS" and any(item["vm_uuid"] == vm for item in check["items"])


def active(client: Client, vm: str) -> dict[str, Any] | None:
    record = client.vm(vm)
    return record if record["communication_link_active"] else None


@pytest.mark.parametrize("offset", LARGE)
def test_a_guest_whose_clock_is_ten_years_off_trusts_nobody_and_says_that_its_clock_may_be_why(
    client: Client, guest: Callable[[str], tuple[str, AgentProcess]], offset: str
) -> None:
    """T15: over the network; over its serial port it is linked (tests/agent/suite/check_serial.py)."""
    vm, agent = guest(offset)
    before = (agent.folder / "usr/local/openngt/config/identity.pem").read_bytes()
    error = until(lambda: (runtime_status.read(agent.paths) or {}).get("link", {}).get("last_error"), "an error")
    assert error["code"] == "TLS_NOT_TRUSTED" and "this guest's clock says" in error["message"]
    assert active(client, vm) is None
    assert (agent.folder / "usr/local/openngt/config/identity.pem").read_bytes() == before


def test_the_services_clock_jumps_by_years_and_back_and_every_agent_stays(tmp_path: Path) -> None:
    """F15: nothing is renewed or cut because of it."""
    clock = WrongClock(tmp_path / "clock")
    (tmp_path / "service").mkdir()
    service = ServiceProcess(tmp_path / "service", {"log_level": "warning", "health_interval_seconds": "5"})
    with clock.worn():
        service.start()
    try:
        swarm = Swarm(service, tmp_path)
        vms = swarm.enrol(AGENTS)
        asyncio.run(jumps(service, swarm, vms, clock))
    finally:
        service.stop()


async def jumps(service: ServiceProcess, swarm: Swarm, vms: list[str], clock: WrongClock) -> None:
    with service.client() as client:
        async with asyncio.timeout(PATIENCE_SECONDS * 3):
            await swarm.connect_all(vms)
            before = await asyncio.to_thread(client.vms, vms)
            for offset in ("+1h", "-1h", "+5y", "-5y", "+0"):
                clock.set(offset)
                beats = swarm.beats
                while swarm.beats < beats + 4 * AGENTS:  # four seconds of life with that clock
                    await asyncio.sleep(0.1)
                after = await asyncio.to_thread(client.vms, vms)
                off = abs(
                    (datetime.datetime.fromisoformat(after[0]["link"]["last_seen"]) - effects.now()).total_seconds()
                )
                assert (off > 1800) == (offset != "+0"), "the service lives by that clock"
                assert [sessions(vm) for vm in after] == [sessions(vm) for vm in before], offset
                assert [vm["generation"] for vm in after] == [vm["generation"] for vm in before], offset
            assert await swarm.is_welcome(vms[0]), "with the right time a handshake is good again"
            [issued] = await asyncio.to_thread(client.issue_batch, [{"vm_uuid": vms[0]}])
            assert issued["generation"] == before[0]["generation"] + 1
            await swarm.stop()


def sessions(vm: dict[str, Any]) -> tuple[str, str | None]:
    assert vm["communication_link_active"]
    return vm["vm_uuid"], vm["link"]["session"]


def test_what_is_issued_with_a_clock_of_the_past_is_refused_by_name(tmp_path: Path) -> None:
    """F15: a certificate is never dated before an earlier one; nothing is issued until the clock is right again."""
    clock = WrongClock(tmp_path / "clock")
    (tmp_path / "service").mkdir()
    service = ServiceProcess(tmp_path / "service", {"log_level": "warning"})
    with clock.worn():
        service.start()
    try:
        [vm] = Swarm(service, tmp_path).enrol(1)
        with service.client() as client:
            clock.set("-1h")
            until(lambda: refusal(client, vm) == "CLOCK_WENT_BACK", "the refusal")
            clock.set("+0")
            until(lambda: refusal(client, vm) is None, "a certificate")
    finally:
        service.stop()


def refusal(client: Client, vm: str) -> str | None:
    try:
        client.issue_batch([{"vm_uuid": vm}])
    except OpenNGTError as exc:
        assert exc.remedy
        return exc.code
    return None
