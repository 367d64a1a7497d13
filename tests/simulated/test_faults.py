# SPDX-License-Identifier: GPL-3.0-or-later
"""An evening on which much goes wrong: each guest's row is true, the others are installed, and the next run ends it."""

import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from openngt.install.fleet.report import PHASES, Event, Report

from ..conftest import ROOT
from ..fakes.simulated_guests.fleet import SimulatedGuest
from ..fakes.simulated_guests.root import once
from ..fakes.simulated_guests.spec import ADMIN, PORT
from ..fakes.waiting import until
from .conftest import World

LOST = ("GUEST_REFUSED", "GUEST_CONNECTION_LOST", "GUEST_TIMED_OUT", "LINK_NOT_ACTIVE")
POWER_CUT = "systemctl poweroff"
DYING = {"dies1": "python3", "dies2": "mount-iso", "dies3": "umount"}
"""Each by the program at whose first start its power is cut."""
GOOD = ("web1", "web2", "web3", "db1", "db2")


def outcome(report: Report) -> dict[str, tuple[str, str | None]]:
    return {row.name: (row.state, row.code) for row in report.rows}


@contextmanager
def crowded(guest: SimulatedGuest, seconds: float) -> Iterator[None]:
    """Somebody else's half-open connection, which is all that this guest's sshd takes, for a while."""
    while (other := socket.create_connection((guest.address, PORT))).recv(4) != b"SSH-":
        other.close()  # it has not got over the connection before this one
    timer = threading.Timer(seconds, other.close)
    timer.start()
    try:
        yield
    finally:
        timer.join()


@pytest.mark.slow
def test_each_guest_has_its_own_end_and_the_next_run_converges(world: World) -> None:
    """F31: guests die in each phase, refuse the login, are full, unknown, named twice or crowded."""
    fleet = world.fleet
    fleet.add(*GOOD, "stranger1", "stranger2", "off", "twice")
    fleet.add("crowded", sshd=("MaxStartups=1:100:1",))
    fleet.add("missing", on_hypervisor=False)
    fleet.add("full", disk_mib=2)
    fleet.add("tight", disk_mib=12)
    for name, program in DYING.items():
        fleet.add(name, files=once(program, POWER_CUT))
    fleet.start()
    fleet.guest("off").kill()
    targets = world.targets()
    wrong = [dict(each) for each in targets]
    for each in wrong:
        if each["name"].startswith("stranger"):
            each["password"] = "canary-not-this-one"
    wrong.append({**next(each for each in targets if each["name"] == "twice"), "name": "again"})

    with crowded(fleet.guest("crowded"), 2.0):
        report = world.install(wrong, minimum_free_mb=5)
    expected: dict[str, tuple[str, str | None]] = {
        **dict.fromkeys(GOOD, ("installed", None)),
        "stranger1": ("failed", "GUEST_LOGIN_FAILED"),
        "stranger2": ("failed", "GUEST_LOGIN_FAILED"),
        "off": ("failed", "GUEST_REFUSED"),
        "twice": ("failed", "INVALID_INPUT"),
        "again": ("failed", "INVALID_INPUT"),
        "crowded": ("installed", None),
        "missing": ("failed", "VM_NOT_FOUND"),
        "full": ("failed", "PREREQUISITES_NOT_MET"),
        "tight": ("failed", "NO_SPACE"),
        **dict.fromkeys(DYING, ("failed", "GUEST_CONNECTION_LOST")),
    }
    assert outcome(report) == expected
    phases = {row.name: row.phase for row in report.rows}
    assert (phases["stranger1"], phases["full"], phases["tight"]) == ("connect", "prerequisites", "install")
    assert [phases[name] for name in DYING] == ["prerequisites", "install", "install"]
    assert report.error is not None and report.error.code == "TASK_FAILED"
    assert report.limit_file is not None
    assert set(Path(report.limit_file).read_text().split()) == {
        name for name, (state, _) in expected.items() if state == "failed"
    }
    assert "canary-not-this-one" not in repr(report) + (world.folder / "journal/journal.jsonl").read_text()
    until(lambda: world.proven() == {*GOOD, "crowded"}, "the links of those that are said to have one")
    assert world.service.hypervisor.media() == [], "no disc stays in any drive"

    world.service.hypervisor.add(fleet.guest("missing").vm_uuid, "missing", {"cd0": None})
    for name in ("full", "tight"):
        fleet.guest(name).resize_disk(100)
    for name in ("off", *DYING):
        fleet.guest(name).kill()
    fleet.start()
    report = world.install(targets, minimum_free_mb=5)
    assert report.error is None, outcome(report)
    assert {name for name, (state, _) in outcome(report).items() if state == "unchanged"} >= {*GOOD, "crowded"}
    assert world.proven() == {guest.name for guest in fleet.guests}
    assert world.service.hypervisor.media() == []


@pytest.mark.slow
def test_a_guest_whose_power_is_cut_in_any_phase_is_told_as_it_was_and_taken_up_again(world: World) -> None:
    """Also between what its own programs do: while the service mounts, proves and cleans up."""
    world.fleet.add(*PHASES)
    world.fleet.start()

    def on_event(event: Event) -> None:
        guest = world.fleet.guest(event.name)
        if event.phase == event.name and guest.pid is not None:
            guest.kill()

    for name, (state, code) in outcome(world.install(world.targets(), on_event, wait_seconds=10.0)).items():
        assert (state, code) == ("installed", None) or code in LOST, (name, state, code)
    assert world.service.hypervisor.media() == []
    world.fleet.start()
    report = world.install(world.targets())
    assert report.error is None, outcome(report)
    assert world.proven() == {guest.name for guest in world.fleet.guests}


@pytest.mark.slow
def test_a_slow_guest_ends_at_its_own_limit(world: World) -> None:
    world.fleet.add("slow", files=once("sudo", "sleep 600"))
    world.fleet.start()
    targets = [{**target, "user": ADMIN} for target in world.targets()]
    report = world.install(targets, host_seconds=5.0)
    assert outcome(report) == {"slow": ("failed", "GUEST_TIMED_OUT")}
    assert world.service.hypervisor.media() == []
    assert world.install(world.targets()).error is None
    assert world.proven() == {"slow"}


@pytest.mark.slow
def test_a_service_that_restarts_in_the_middle_costs_no_guest(world: World) -> None:
    names = [f"vm{number}" for number in range(6)]
    world.fleet.add(*names)
    world.fleet.start()
    restarted: list[threading.Thread] = []

    def restart() -> None:
        world.service.stop()
        world.service.start()

    def on_event(event: Event) -> None:
        if event.phase == "install" and not restarted:
            restarted.append(threading.Thread(target=restart))
            restarted[0].start()

    report = world.install(world.targets(), on_event, max_in_flight=3)
    restarted[0].join()
    assert report.error is None, outcome(report)
    until(lambda: world.proven() == set(names), "their links to the service that came back")
    assert world.service.hypervisor.media() == []


@pytest.mark.slow
def test_a_controller_that_was_killed_in_any_phase_is_taken_up_by_the_next(world: World) -> None:
    """F31: what the killed run had reported was so, and the next run ends with every guest proven and no disc left."""
    world.fleet.add(*PHASES)
    world.fleet.start()
    for phase, target in zip(PHASES, world.targets(), strict=True):
        targets = [target]
        told = killed_in(world, phase, targets)
        proven = world.proven()
        assert {row["name"] for row in told if row["state"] == "installed"} <= proven, phase
        until(world.fleet.guest(phase).is_quiet, f"the guest after the kill: {phase}")
        report = world.install(targets)
        assert report.error is None, (phase, outcome(report))
        assert {each["name"] for each in targets} <= world.proven()
        assert world.service.hypervisor.media() == [], phase
        assert not mounted_anywhere(world), phase
        (world.folder / "journal/journal.jsonl").unlink()


def mounted_anywhere(world: World) -> list[str]:
    return [guest.name for guest in world.fleet.guests if "/dev/sr0" in guest.mounts]


def killed_in(world: World, phase: str, targets: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows that a controller had told when it was killed at the beginning of a phase of the first guest there."""
    plan = world.folder / "plan.json"
    plan.write_text(json.dumps({"targets": targets, "options": {"journal": str(world.folder / "journal")}}))
    rows = []
    with subprocess.Popen(
        [sys.executable, "-m", "tests.fakes.simulated_guests.controller", str(plan)],
        cwd=ROOT,
        env=world.environment,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            event = json.loads(line)
            if event.get("row"):
                rows.append(event["row"])
            if event.get("phase") == phase:
                process.send_signal(signal.SIGKILL)
                break
        assert process.wait() == -signal.SIGKILL, f"it ended before {phase}"
    return rows
