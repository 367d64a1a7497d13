# SPDX-License-Identifier: GPL-3.0-or-later
"""kill -9 at each step of issue, ISO build, mount, eject, rotate, power and disable (F1 to F3): a start converges."""

import asyncio
import multiprocessing
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.fakes.agents import agents_of
from tests.fakes.upgrading import upgradable_agents_of
from tests.fakes.waiting import PATIENCE_SECONDS
from tests.fakes.workshop import HOLDER, VM, Workshop, open_workshop

from openngt import effects
from openngt.version import __version__
from openngt_service.ports import Accepted, Refused
from openngt_service.tasks.ca_rollover import CaRollover

from .victim import ACKNOWLEDGED, KEY, OLD_AGENT, USERS, run

ROOT = Path(__file__).resolve().parents[3]

STEPS = {
    "store.issue.reserved": "mount",
    "store.issue.signed": "mount",
    "store.issue.written": "mount",
    "store.issue.committed": "mount",
    "store.revoke.written": "disable",
    "store.revoke.committed": "disable",
    "tasks.mount.reserved": "mount",
    "tasks.mount.recorded": "mount",
    "tasks.mount.authored": "mount",
    "tasks.mount.inserted": "mount",
    "tasks.mount.persisted": "mount",
    "tasks.eject.marked": "eject",
    "tasks.eject.ejected": "eject",
    "tasks.eject.deleted": "eject",
    "tasks.eject.persisted": "eject",
    "tasks.rotate.handed": "rotate",
    "tasks.power.done": "power",
    # Steps of the ISO library that are met on the way; its own tests have a case for each that there is.
    "iso.template.authored": "mount",
    "iso.template.verified": "mount",
    "iso.clone.copied": "mount",
    "iso.clone.patched": "mount",
    "iso.publish.created": "mount",
    "iso.publish.synced": "mount",
    "iso.publish.renamed": "mount",
}
"""Where the process is killed -> what it was doing."""

REFRESH_STEPS = [
    "tasks.refresh.mounted",
    "tasks.refresh.taken",
    "tasks.refresh.issued",
    "tasks.refresh.handed",
    "tasks.refresh.ejected",
    "tasks.mount.reserved",
    "tasks.mount.recorded",
    "tasks.mount.authored",
    "tasks.mount.inserted",
    "tasks.eject.marked",
    "tasks.eject.ejected",
    "tasks.eject.deleted",
    "tasks.eject.persisted",
]
ROLLOVER_STEPS = {
    "tasks.ca_rollover.recorded": "none",
    "tasks.ca_rollover.done": "prepared",
    "tasks.ca_rollover.serials_retired": "activated",
}
"""Where it is killed -> the phase in which the next start finds the CA."""

CUSTOMIZE_STEPS = {
    "tasks.customize.cleared": None,
    "tasks.customize.reserved": None,
    "tasks.customize.authored": None,
    "tasks.customize.inserted": None,
    "tasks.customize.persisted": "pending",
    "tasks.customize.ejected": None,
    "tasks.customize.deleted": None,
    "tasks.customize.switched": "running",
    "tasks.switching.started": "running",
    "tasks.customize.ended": "failed",
    "tasks.customize.cleaned": "failed",
    "tasks.withdraw.cleared": "failed",
}
"""Where it is killed -> what the next start makes of the customization; None: disc and row are swept."""

UPGRADE_STEPS = {
    "tasks.upgrade.offered": "link",
    "tasks.upgrade.sent": "link",
    "tasks.upgrade.committed": "link",
    "tasks.upgrade.mounted": "iso",
}


def test_every_step_in_the_code_has_its_case(failpoints: Callable[[Path], set[str]]) -> None:
    service = ROOT / "src/openngt_service"
    ours = {
        step
        for step in [*STEPS, *REFRESH_STEPS, *ROLLOVER_STEPS, *CUSTOMIZE_STEPS, *UPGRADE_STEPS]
        if not step.startswith("iso.")
    }
    assert failpoints(service / "store") | failpoints(service / "tasks") == ours


# Children of one process that has imported everything: a clean process each time, without its second of imports.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.service.tasks.victim"])


def kill_at(folder: Path, step: str, operation: str) -> dict[str, str]:
    """What the victim had acknowledged."""
    process = PROCESSES.Process(target=run, args=(folder, operation, step))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL, f"{step} was not met"
    lines = (line.partition(" ") for line in (folder / ACKNOWLEDGED).read_text().splitlines())
    return {word: result for word, _, result in lines}


@pytest.mark.parametrize(("step", "operation"), STEPS.items(), ids=STEPS.keys())
def test_the_next_start_converges(tmp_path: Path, step: str, operation: str) -> None:
    acknowledged = kill_at(tmp_path, step, operation)
    before = issued_serials(tmp_path)
    assert acknowledged.get("mount", "none") in {*before, "none"}, "I1: what was acknowledged is there"

    async def main() -> None:
        async with open_workshop(tmp_path) as workshop:
            await consistent(workshop, is_off=operation == "power")
            await revocation_holds(workshop, operation, step)
            if operation == "power":
                await asked_again(workshop)
            if operation in ("mount", "eject", "rotate"):
                await same_key_same_task(workshop, acknowledged)
                await goes_on(workshop, before)

    asyncio.run(main())
    assert len(issued_serials(tmp_path)) == len(set(issued_serials(tmp_path)))


@pytest.mark.parametrize("step", REFRESH_STEPS)
def test_a_refresh_goes_on_at_the_next_start_and_no_agent_is_locked_out(tmp_path: Path, step: str) -> None:
    """F5, the service's half: whichever identity the agent has when the service dies, it comes back with it."""
    acknowledged = kill_at(tmp_path, step, "refresh")
    before = issued_serials(tmp_path)[0]

    async def main() -> None:
        async with open_workshop(tmp_path) as workshop, agents_of(workshop) as agents:
            await agents.connect(VM)
            assert not agents.refused, "the identity that it has is accepted"
            assert await workshop.result({"task_id": acknowledged["refresh"]}) == {"refreshed": 1}
            entry = workshop.store.ledger.certificate_of(VM)
            assert entry is not None and (entry.state, entry.kind) == ("current", "link")
            assert entry.serial_hex != before and not agents.refused
            await stored(workshop, acknowledged["refresh"])
            await consistent(workshop, is_off=False)
            assert workshop.store.mounts.get(VM) is None

    asyncio.run(main())


@pytest.mark.parametrize(("step", "phase"), ROLLOVER_STEPS.items(), ids=ROLLOVER_STEPS.keys())
def test_a_rollover_goes_on_where_it_was_killed_and_no_ca_is_lost(tmp_path: Path, step: str, phase: str) -> None:
    """The folder loads, the step can be repeated, and the trail knows of each that was begun."""
    kill_at(tmp_path, step, "roll_over")

    async def main() -> None:
        async with open_workshop(tmp_path) as workshop, agents_of(workshop) as agents:
            rollover = CaRollover(workshop.parts, lambda succession: None)
            assert rollover.status()["phase"] == phase
            assert (await rollover.step("prepare", actor="test", force=True))["phase"] != "none"
            assert (await rollover.step("activate", actor="test", force=True))["phase"] == "activated"
            assert isinstance(await agents.connect(VM), Refused) is (phase == "activated")
            assert (await rollover.step("retire", actor="test", force=True))["phase"] == "none"
            assert isinstance(await agents.connect(VM), Refused), "its certificate is of the CA that was retired"
            assert (await workshop.store.audit.verify()).problem is None
            verbs = [row.verb for row in await workshop.store.audit.page() if row.verb.startswith("ca.")]
            assert list(dict.fromkeys(verbs)) == ["ca.prepare", "ca.activate", "ca.retire"]


@pytest.mark.parametrize(("step", "state"), CUSTOMIZE_STEPS.items(), ids=CUSTOMIZE_STEPS.keys())
def test_a_customization_is_whole_or_gone_at_the_next_start_and_can_be_given_again(
    tmp_path: Path, step: str, state: str | None
) -> None:
    """F1, F3 for a disc that holds passwords: it is in its drive and known, or nowhere."""
    kill_at(tmp_path, step, "customize_as_it_starts" if step == "tasks.switching.started" else "customize")

    async def main() -> None:
        async with open_workshop(tmp_path) as workshop:
            service, watch = workshop.operations.customizations, workshop.background.customization_watch
            row = workshop.store.customizations.get(VM)
            assert (None if row is None else row.state) == state
            folder = workshop.settings.discs_directory
            iso = [str(path) for path in folder.glob("*")]
            assert workshop.hypervisor.media() == [USERS, *iso]
            assert len(iso) == (state in ("pending", "running"))
            assert await watch.settle_all() == set()
            spec = {"scripts": [{"content": "#!/bin/sh\n"}], "instance_id": "i-2"}
            record = await service.apply(VM, spec, power_on=False, wait_seconds=None, actor="test")
            assert (await workshop.result({"task_id": record.task_id}))["changed"] is True
            record = await service.withdraw(VM, actor="test")
            assert await workshop.result({"task_id": record.task_id}) == {"withdrawn": True}
            assert workshop.hypervisor.media() == [USERS] and list(folder.glob("*")) == []
            assert (await workshop.store.audit.verify()).problem is None

    asyncio.run(main())


@pytest.mark.parametrize(("step", "via"), UPGRADE_STEPS.items(), ids=UPGRADE_STEPS.keys())
def test_an_upgrade_goes_on_at_the_next_start_and_the_agent_is_changed_over(
    tmp_path: Path, step: str, via: str
) -> None:
    acknowledged = kill_at(tmp_path, step, f"upgrade_by_{via}")

    async def main() -> None:
        async with open_workshop(tmp_path) as workshop, upgradable_agents_of(workshop) as agents:
            agents.versions[VM] = OLD_AGENT
            await agents.connect(VM)
            assert await workshop.result({"task_id": acknowledged["upgrade"]}) == {"upgraded": 1}
            assert agents.versions[VM] == __version__ and not agents.refused
            await stored(workshop, acknowledged["upgrade"])
            await consistent(workshop, is_off=False)
            assert workshop.store.mounts.get(VM) is None

    asyncio.run(main())


def issued_serials(folder: Path) -> list[str]:
    with sqlite3.connect(folder / "openngt.db") as connection:
        return [row[0] for row in connection.execute("SELECT serial FROM certificates ORDER BY generation")]


async def consistent(workshop: Workshop, *, is_off: bool) -> None:
    """I7: row, drive and file tell the same, whichever it is; nothing of the user's is gone, no task seems to run."""
    mounted = workshop.store.mounts.get(VM)
    assert mounted is None or mounted.phase == "mounted"
    iso = [str(workshop.parts.media.path(VM))] if mounted else []
    users = [] if is_off else [USERS]  # a VM that is off holds nothing
    assert workshop.hypervisor.media() == [*users, *iso]
    assert workshop.iso_files() == [Path(path).name for path in iso]
    tasks = (await workshop.operations.tasks())["items"]
    assert {task["state"] for task in tasks} <= {"succeeded", "interrupted"}
    assert (await workshop.store.audit.verify()).problem is None


async def stored(workshop: Workshop, task_id: str) -> None:
    """Who waits for a task has its end a moment before the database."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (record := await workshop.store.tasks.get(task_id)) is None or not record.finished:
            await asyncio.sleep(0.005)


async def revocation_holds(workshop: Workshop, operation: str, step: str) -> None:
    """T17: once the row is written, whatever comes after, no serial of the VM opens any more."""
    if operation == "disable" and step != "store.revoke.written":
        serials = [int(serial, 16) for serial in issued_serials(workshop.settings.state_dir)]
        assert workshop.store.mounts.get(VM) is None
        verdicts = [workshop.store.ledger.judge(serial, effects.now()) for serial in serials]
        assert serials and not any(isinstance(verdict, Accepted) for verdict in verdicts)


async def same_key_same_task(workshop: Workshop, acknowledged: dict[str, str]) -> None:
    """I2: a client that repeats its request does not have it done twice."""
    task = await workshop.operations.mount(VM, holder=HOLDER, config_only=True, actor="test", key=KEY)
    if "task" in acknowledged:
        assert task["task_id"] == acknowledged["task"]
    await workshop.parts.engine.finished(task["task_id"])
    await workshop.eject(force=True)


async def asked_again(workshop: Workshop) -> None:
    """The first start is told as interrupted, and a second one finds the VM as it is."""
    [first] = [task for task in (await workshop.operations.tasks())["items"] if task["kind"] == "power"]
    assert first["state"] == "interrupted"
    assert await workshop.power("off") == {**await workshop.power("off"), "before": "off", "changed": False}


async def goes_on(workshop: Workshop, before: list[str]) -> None:
    highest = workshop.store.registry.find(VM).generation
    result = await workshop.mount()
    assert result["serial"] not in before and result["generation"] > highest
    assert len(workshop.iso_files()) == 1 and len(workshop.hypervisor.media()) == 2
    assert await workshop.eject() == {"ejected": True}
    assert (workshop.hypervisor.media(), workshop.iso_files()) == ([USERS], [])
