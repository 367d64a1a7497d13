# SPDX-License-Identifier: GPL-3.0-or-later
"""Mounting and ejecting: whose disc it is, which drive, and what a hypervisor's bad day leaves behind."""

import asyncio
import datetime
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from tests.fakes.hypervisor import Fault
from tests.fakes.workshop import HOLDER, VM, Workshop, open_workshop

from openngt import effects
from openngt.errors import OpenNGTError
from openngt_service.hypervisors.base import Drive
from openngt_service.ports import Refused
from openngt_service.store.mounts import Mount
from openngt_service.store.task_rows import request_key
from openngt_service.tasks.mount import MountPlan, MountRequest, plan_mount, require_free

USERS = "/isos/debian.iso"
OURS = f"/state/iso/{VM}.iso"
NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
HOUR = datetime.timedelta(hours=1)
OTHER = "eve@controller pid 2 (ansible)"

REQUEST = MountRequest(VM, HOLDER, HOUR)
HELD = Mount(VM, "mounted", "ide1", False, HOLDER, NOW, NOW + HOUR, 3, "ab", NOW + 24 * HOUR)


async def enrol(workshop: Workshop, drives: dict[str, str | None] | None = None) -> None:
    workshop.hypervisor.add(VM, "web1", {"ide0": USERS, "ide1": None} if drives is None else drives)
    await workshop.operations.enable("web1", {}, actor="test")


async def failure(call: object) -> OpenNGTError:
    with pytest.raises(OpenNGTError) as caught:
        await call  # type: ignore[misc]  # any awaitable
    return caught.value


@pytest.mark.parametrize(
    ("drives", "held", "request_", "usable", "plan"),
    [
        ([Drive("ide0", "empty")], None, REQUEST, False, MountPlan("insert", "ide0")),
        ([Drive("ide0", "loaded", USERS), Drive("ide1", "empty")], None, REQUEST, False, MountPlan("insert", "ide1")),
        ([Drive("ide1", "loaded", OURS)], HELD, REQUEST, True, MountPlan("keep", "ide1")),
        ([Drive("ide1", "loaded", OURS)], HELD, REQUEST, False, MountPlan("replace", "ide1")),
        ([Drive("ide1", "loaded", OURS)], HELD, replace(REQUEST, config_only=True), True, MountPlan("replace", "ide1")),
        ([Drive("ide1", "tray_open", OURS)], HELD, REQUEST, True, MountPlan("replace", "ide1")),
        ([Drive("ide0", "empty"), Drive("ide1", "loaded", OURS)], None, REQUEST, True, MountPlan("replace", "ide1")),
        ([Drive("ide0", "empty")], HELD, REQUEST, True, MountPlan("replace", "ide0")),
        ([Drive("ide0", "loaded", OURS)], HELD, REQUEST, True, MountPlan("replace", "ide0")),
    ],
)
def test_the_plan(
    drives: Sequence[Drive], held: Mount | None, request_: MountRequest, usable: bool, plan: MountPlan
) -> None:
    assert plan_mount(drives, OURS, held, request_, usable=usable) == plan


@pytest.mark.parametrize(
    "drives", [[], [Drive("ide0", "loaded", USERS)], [Drive("ide0", "tray_open", USERS), Drive("ide1", "loaded", "x")]]
)
def test_no_empty_drive_lists_what_each_holds_and_ejects_nothing(drives: Sequence[Drive]) -> None:
    with pytest.raises(OpenNGTError) as caught:
        plan_mount(drives, OURS, None, REQUEST, usable=False)
    assert caught.value.code == "NO_EMPTY_DRIVE"
    assert [drive["holds"] for drive in caught.value.details["drives"]] == [drive.holds for drive in drives]


@pytest.mark.parametrize(
    ("held", "request_", "free"),
    [
        (None, REQUEST, True),
        (HELD, REQUEST, True),
        (HELD, replace(REQUEST, holder=OTHER), False),
        (HELD, replace(REQUEST, holder=OTHER, holder_is_dead=HOLDER), True),
        (HELD, replace(REQUEST, holder=OTHER, holder_is_dead="somebody else"), False),
        (replace(HELD, lease_ends=NOW), replace(REQUEST, holder=OTHER), True),
        (replace(HELD, phase="preparing"), replace(REQUEST, holder=OTHER), True),
    ],
)
def test_a_mount_belongs_to_its_holder_until_the_lease_ends(
    held: Mount | None, request_: MountRequest, free: bool
) -> None:
    if free:
        require_free(held, request_, NOW)
    else:
        with pytest.raises(OpenNGTError) as caught:
            require_free(held, request_, NOW)
        assert caught.value.code == "VM_BUSY"
        assert caught.value.details == {"holder": HOLDER, "lease_ends": (NOW + HOUR).isoformat()}


def test_mount_again_eject_again(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_workshop(tmp_path) as workshop:
            await enrol(workshop)
            first = await workshop.mount()
            assert await workshop.mount() == first, "the same holder gets the same result"
            iso = str(tmp_path / "iso" / f"{VM}.iso")
            assert workshop.hypervisor.media() == [USERS, iso]
            assert workshop.hypervisor.inserted == 1
            record = await workshop.operations.vm("web1")
            assert record["tools_iso_mounted"] and record["mount"]["holder"] == HOLDER
            assert record["certificate"]["state"] == "next" and record["certificate"]["kind"] == "bootstrap"
            assert await workshop.eject() == {"ejected": True}
            assert await workshop.eject() == {"ejected": False}
            assert workshop.hypervisor.media() == [USERS]
            assert workshop.iso_files() == []
            record = await workshop.operations.vm("web1")
            assert not record["tools_iso_mounted"] and record["mount"] is None

    asyncio.run(main())


def test_xorriso_reads_the_iso_and_openssl_its_certificate(tmp_path: Path) -> None:
    async def main() -> dict[str, object]:
        async with open_workshop(tmp_path) as workshop:
            await enrol(workshop)
            return await workshop.mount()

    result = asyncio.run(main())
    iso, out = tmp_path / "iso" / f"{VM}.iso", tmp_path / "client.pem"
    extract = ["xorriso", "-osirrox", "on", "-indev", iso, "-extract", "/config/client.pem", out]
    subprocess.run(extract, capture_output=True, check=True)
    assert iso.stat().st_mode & 0o777 == 0o600
    show = ["openssl", "x509", "-noout", "-serial", "-enddate", "-ext", "subjectAltName", "-in", out]
    text = subprocess.run(show, capture_output=True, text=True, check=True).stdout
    assert str(result["serial"]).upper() in text
    assert f"urn:openngt:vm:{VM}" in text and f"urn:openngt:generation:{result['generation']}" in text
    assert "urn:openngt:manifest:sha256:" in text


def test_two_holders_at_once_one_wins_and_one_serial_is_issued(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_workshop(tmp_path) as workshop:
            await enrol(workshop)
            outcomes = await asyncio.gather(workshop.mount(HOLDER), workshop.mount(OTHER), return_exceptions=True)
            winners = [outcome for outcome in outcomes if isinstance(outcome, dict)]
            [loser] = [outcome for outcome in outcomes if isinstance(outcome, OpenNGTError)]
            mount = workshop.store.mounts.get(VM)
            assert len(winners) == 1 and mount is not None
            assert loser.code == "VM_BUSY" and loser.details["holder"] == mount.holder
            issued = [row for row in await workshop.store.audit.page() if row.verb == "certificate.issue"]
            assert [row.details["serial"] for row in issued] == [winners[0]["serial"]]
            busy = await failure(workshop.eject(OTHER if mount.holder == HOLDER else HOLDER))
            assert busy.code == "VM_BUSY"

    asyncio.run(main())


def test_a_dead_holder_is_taken_over_with_the_disc_as_it_is(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_workshop(tmp_path) as workshop:
            await enrol(workshop)
            first = await workshop.mount()
            assert await workshop.mount(OTHER, holder_is_dead=HOLDER) == first
            mount = workshop.store.mounts.get(VM)
            assert mount is not None and mount.holder == OTHER
            assert (await failure(workshop.eject())).code == "VM_BUSY"

    asyncio.run(main())


def test_a_consumed_iso_is_replaced_by_a_fresh_one(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_workshop(tmp_path) as workshop:
            await enrol(workshop)
            first = await workshop.mount()
            await workshop.store.ledger.revoke(VM, actor="test")
            second = await workshop.mount()
            assert second["generation"] > first["generation"] and second["drive"] == first["drive"]
            assert len(workshop.iso_files()) == 1

    asyncio.run(main())


def test_a_vm_that_is_off_or_has_no_empty_drive_gets_no_certificate(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_workshop(tmp_path) as workshop:
            await enrol(workshop, {"ide0": USERS})
            assert (await failure(workshop.mount())).code == "NO_EMPTY_DRIVE"
            workshop.hypervisor.set_power(VM, "off")
            off = await failure(workshop.mount())
            assert (off.code, off.details) == ("VM_POWERED_OFF", {"power_state": "off"})
            record = await workshop.operations.vm("web1")
            assert (record["generation"], record["certificate"]) == (0, None)
            assert workshop.hypervisor.media() == [USERS]

    asyncio.run(main())


def test_a_drive_that_the_guest_holds_is_left_mounted_unless_forced(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_workshop(tmp_path) as workshop:
            await enrol(workshop)
            await workshop.mount()
            workshop.hypervisor.lock(VM, "ide1")
            assert (await failure(workshop.eject())).code == "DRIVE_LOCKED"
            assert (await workshop.operations.vm("web1"))["tools_iso_mounted"]
            assert workshop.iso_files() != []
            assert await workshop.eject(force=True) == {"ejected": True}

    asyncio.run(main())


def test_an_idempotency_key_makes_one_task(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_workshop(tmp_path) as workshop:
            await enrol(workshop)
            key = request_key("test", "k1", "mount", {"vm": VM})
            asked = [
                await workshop.operations.mount(VM, holder=HOLDER, config_only=True, actor="test", key=key)
                for _ in range(3)
            ]
            assert len({task["task_id"] for task in asked}) == 1
            await workshop.result(asked[0])
            assert len((await workshop.operations.tasks(VM))["items"]) == 1

    asyncio.run(main())


@pytest.mark.parametrize("fault", ["refused", "never", "lost", "late", "twice"])
def test_a_mount_through_a_bad_hypervisor_converges(tmp_path: Path, fault: Fault) -> None:
    """F3: never two ISOs, never a user's disc; in the end one disc or none, and the rows say which."""

    async def main() -> None:
        async with open_workshop(tmp_path) as workshop:
            await enrol(workshop)
            workshop.hypervisor.faults["insert"] = fault
            if fault in ("lost", "twice"):
                await workshop.mount()  # it is in: looking at the drive tells what the answer did not
                assert (await workshop.operations.vm("web1"))["tools_iso_mounted"]
            else:
                error = await failure(workshop.mount())
                assert error.code == "HYPERVISOR_FAILED"
            workshop.hypervisor.faults.clear()
            workshop.hypervisor.release.set()
            await asyncio.sleep(0.01)  # the late insert happens now, into a drive that was given up
            await workshop.background.reconciler.settle_all()
            mounted = workshop.store.mounts.get(VM) is not None
            assert mounted == (fault in ("lost", "twice"))
            assert len(workshop.iso_files()) == len(workshop.hypervisor.media()) - 1 == int(mounted)
            assert USERS in workshop.hypervisor.media()
            await workshop.mount()
            assert await workshop.eject() == {"ejected": True}
            assert (workshop.hypervisor.media(), workshop.iso_files()) == ([USERS], [])

    asyncio.run(main())


@pytest.mark.parametrize("fault", ["refused", "never", "lost", "late", "twice"])
def test_an_eject_through_a_bad_hypervisor_converges(tmp_path: Path, fault: Fault) -> None:
    async def main() -> None:
        async with open_workshop(tmp_path) as workshop:
            await enrol(workshop)
            await workshop.mount()
            workshop.hypervisor.faults["eject"] = fault
            if fault in ("lost", "twice"):
                assert await workshop.eject() == {"ejected": True}
            else:
                assert (await failure(workshop.eject())).code == "HYPERVISOR_FAILED"
                assert workshop.store.mounts.get(VM) is not None, "what is not known to be out counts as in"
            workshop.hypervisor.faults.clear()
            workshop.hypervisor.release.set()
            await asyncio.sleep(0.01)
            await workshop.background.reconciler.settle_all()
            await workshop.eject()
            assert (workshop.hypervisor.media(), workshop.iso_files()) == ([USERS], [])
            assert workshop.store.mounts.get(VM) is None

    asyncio.run(main())


def test_a_mount_that_failed_retires_its_serial(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_workshop(tmp_path) as workshop:
            await enrol(workshop)
            workshop.hypervisor.faults["insert"] = "refused"
            await failure(workshop.mount())
            [row] = [row for row in await workshop.store.audit.page() if row.verb == "certificate.issue"]
            verdict = workshop.store.ledger.judge(int(row.details["serial"], 16), effects.now())
            assert verdict == Refused("retired", VM)

    asyncio.run(main())
