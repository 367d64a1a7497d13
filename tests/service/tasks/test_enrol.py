# SPDX-License-Identifier: GPL-3.0-or-later
"""Enabling, disabling, listing, issuing in bulk: what the API answers with."""

import asyncio
import json
import uuid
from pathlib import Path

import pytest
from tests.fakes.waiting import PATIENCE_SECONDS
from tests.fakes.workshop import VM, Workshop, open_workshop

from openngt import effects
from openngt.errors import OpenNGTError
from openngt.pki.issue_log import IssueLog, parse_issue_log
from openngt_service.ports import Refused

USERS = "/isos/debian.iso"
RECORD = (
    "vm_uuid, vm_name, ngt_uuid, ngt_enabled, tools_iso_mounted, vss_snapshot, self_service_restore, "
    "agent_capabilities, communication_type, communication_link_active, communication_link_over_serial_port_active, "
    "transport, serial_port, serial_port_held_until, "
    "power_state, agent_version, available_version, agent_support, reboot_required, "
    "generation, certificate, mount, link, vm_info, enrolled_at"
)


async def failure(call: object) -> OpenNGTError:
    with pytest.raises(OpenNGTError) as caught:
        await call  # type: ignore[misc]  # any awaitable
    return caught.value


def log(*lines: dict[str, object]) -> IssueLog:
    return parse_issue_log(b"".join(json.dumps(line).encode() + b"\n" for line in lines))


def add(workshop: Workshop, vm_uuid: str = VM, vm_name: str = "web-1") -> None:
    workshop.hypervisor.add(vm_uuid, vm_name, {"ide0": USERS, "ide1": None})


def test_the_record_has_the_fields_of_the_contract(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_workshop(tmp_path) as workshop:
            add(workshop)
            record, created = await workshop.operations.enable("web-1", {}, actor="test")
            assert created and list(record) == RECORD.split(", ")
            assert (record["vm_uuid"], record["power_state"]) == (VM, "on")
            assert await workshop.operations.enable(VM, {}, actor="test") == (record, False)

    asyncio.run(main())


def test_a_vm_without_a_serial_port_gets_one_with_its_next_start(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_workshop(tmp_path) as workshop:
            add(workshop)
            record, _ = await workshop.operations.enable("web-1", {}, actor="test")
            assert (record["serial_port"], record["communication_type"]) == (
                "needs_full_stop_and_start",
                "kFallbackToIP",
            )
            assert list(await workshop.hypervisor.serial_channels()) == [VM]

    asyncio.run(main())


def test_a_hypervisor_that_adds_no_port_does_not_keep_a_vm_from_being_enrolled(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_workshop(tmp_path) as workshop:
            add(workshop)
            workshop.hypervisor.faults["add_serial_channel"] = "refused"
            record, created = await workshop.operations.enable("web-1", {}, actor="test")
            assert created and (record["serial_port"], record["communication_type"]) == ("none", "kIpBased")

    asyncio.run(main())


def test_capabilities_that_are_left_out_stay_as_they_are(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_workshop(tmp_path) as workshop:
            add(workshop)
            await workshop.operations.enable(VM, {"vss_snapshot": False}, actor="test")
            record, _ = await workshop.operations.enable(VM, {"self_service_restore": False}, actor="test")
            assert (record["vss_snapshot"], record["self_service_restore"]) == (False, False)
            assert (await failure(workshop.operations.enable(VM, {"fly": True}, actor="test"))).code == "INVALID_INPUT"

    asyncio.run(main())


def test_an_unknown_vm_is_answered_with_near_names_and_an_ambiguous_one_with_uuids(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_workshop(tmp_path) as workshop:
            add(workshop)
            unknown = await failure(workshop.operations.enable("web1", {}, actor="test"))
            assert (unknown.code, unknown.details["near"]) == ("VM_NOT_FOUND", ["web-1"])
            add(workshop, str(uuid.UUID(int=1)))
            ambiguous = await failure(workshop.operations.enable("web-1", {}, actor="test"))
            assert ambiguous.code == "VM_AMBIGUOUS" and len(ambiguous.details["vms"]) == 2
            assert (await workshop.operations.vms())["items"] == [], "nothing was enrolled"

    asyncio.run(main())


def test_disabling_revokes_cuts_ejects_and_deletes(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_workshop(tmp_path) as workshop:
            add(workshop)
            await workshop.operations.enable(VM, {}, actor="test")
            serial = (await workshop.mount())["serial"]
            assert await workshop.operations.disable("web-1", actor="test") == {"vm_uuid": VM, "revoked": [serial]}
            assert workshop.gateway.cuts == [(VM, "revoked")]
            assert (workshop.hypervisor.media(), workshop.iso_files()) == ([USERS], [])
            assert workshop.store.ledger.judge(int(serial, 16), effects.now()) == Refused("revoked", VM)
            assert (await failure(workshop.operations.vm(VM))).code == "NOT_ENROLLED"
            assert (await failure(workshop.operations.disable(VM, actor="test"))).code == "NOT_ENROLLED"

    asyncio.run(main())


def test_disabling_a_vm_whose_hypervisor_is_gone_revokes_all_the_same(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_workshop(tmp_path) as workshop:
            add(workshop)
            await workshop.operations.enable(VM, {}, actor="test")
            serial = (await workshop.mount())["serial"]
            workshop.hypervisor.faults["find"] = "never"
            assert (await workshop.operations.disable(VM, actor="test"))["revoked"] == [serial]
            workshop.hypervisor.faults.clear()
            await workshop.background.reconciler.settle_all()
            assert (workshop.hypervisor.media(), workshop.iso_files()) == ([USERS], [])

    asyncio.run(main())


def test_disabling_does_not_wait_for_a_task_at_work_before_it_revokes(tmp_path: Path) -> None:
    """T17: the deny row comes first."""

    async def main() -> None:
        async with open_workshop(tmp_path) as workshop:
            add(workshop)
            await workshop.operations.enable(VM, {}, actor="test")
            serial = int((await workshop.mount())["serial"], 16)
            async with workshop.parts.engine.exclusive(VM):
                disabling = asyncio.create_task(workshop.operations.disable(VM, actor="test"))
                async with asyncio.timeout(PATIENCE_SECONDS):
                    while not isinstance(workshop.store.ledger.judge(serial, effects.now()), Refused):
                        await asyncio.sleep(0.005)
                assert not disabling.done(), "the drive is a task's at this moment"
            await disabling
            assert workshop.iso_files() == []

    asyncio.run(main())


def test_a_list_survives_a_hypervisor_that_does_not_answer(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_workshop(tmp_path) as workshop:
            for number in range(1, 4):
                add(workshop, str(uuid.UUID(int=number)), f"vm{number}")
                await workshop.operations.enable(f"vm{number}", {}, actor="test")
            workshop.hypervisor.faults["list_vms"] = "never"
            page = await workshop.operations.vms(limit=2)
            assert [record["power_state"] for record in page["items"]] == ["unknown", "unknown"]
            rest = await workshop.operations.vms(limit=2, page_token=page["next_page_token"])
            assert [record["vm_name"] for record in rest["items"]] == ["vm3"]

    asyncio.run(main())


def test_hypervisor_vms_say_who_is_enrolled_and_what_each_drive_holds(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_workshop(tmp_path) as workshop:
            add(workshop)
            drives = [
                {"name": "ide0", "state": "loaded", "holds": USERS},
                {"name": "ide1", "state": "empty", "holds": None},
            ]
            expected = {
                "vm_uuid": VM,
                "vm_name": "web-1",
                "power_state": "on",
                "cdrom_drives": drives,
                "power_unsupported": {},
                "clone_pending": False,
                "cloned_from": None,
            }
            before = {**expected, "enrolled": False, "serial_port": "none"}
            assert await workshop.operations.hypervisor_vms() == [before]
            await workshop.operations.enable(VM, {}, actor="test")
            after = {**expected, "enrolled": True, "serial_port": "needs_full_stop_and_start"}
            assert await workshop.operations.hypervisor_vms("web-1") == [after]
            assert await workshop.operations.hypervisor_vms("other") == []

    asyncio.run(main())


def test_a_batch_is_issued_whole_or_not_at_all(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_workshop(tmp_path) as workshop:
            add(workshop)
            await workshop.operations.enable(VM, {}, actor="test")
            missing = [{"vm_uuid": VM}, {"vm_uuid": str(uuid.UUID(int=9))}]
            assert (await failure(workshop.operations.issue_batch(missing, actor="test"))).code == "NOT_ENROLLED"
            assert (await workshop.operations.vm(VM))["certificate"] is None
            [issued] = await workshop.operations.issue_batch([{"vm_uuid": VM}], actor="test")
            assert "PRIVATE KEY" in issued["private_key_pem"]
            assert (await workshop.operations.vm(VM))["certificate"]["serial"] == issued["serial"]
            wrong = [{"vm_uuid": VM, "ngt_uuid": str(uuid.UUID(int=9))}]
            assert (await failure(workshop.operations.issue_batch(wrong, actor="test"))).code == "INVALID_INPUT"

    asyncio.run(main())


def test_the_lines_of_an_issue_log_are_adopted_with_their_revocations(tmp_path: Path) -> None:
    line = {
        "serial": "a1",
        "vm_uuid": VM,
        "ngt_uuid": str(uuid.UUID(int=5)),
        "vm_name": "old",
        "generation": 4,
        "kind": "link",
        "not_before": "2026-01-01T00:00:00Z",
        "not_after": "2099-01-01T00:00:00Z",
        "sha256": "0" * 64,
        "issued_at": "2026-01-01T00:00:00Z",
    }
    revoked = {"serial": "a1", "vm_uuid": VM, "revoked_at": "2026-01-02T00:00:00Z"}

    async def main() -> None:
        async with open_workshop(tmp_path) as workshop:
            assert await workshop.operations.adopt(log(line), actor="test") == {"adopted": 1, "known": 0}
            record = await workshop.operations.vm("old")
            assert (record["generation"], record["certificate"]["kind"]) == (4, "external")
            assert await workshop.operations.adopt(log(line, revoked), actor="test") == {"adopted": 0, "known": 1}
            assert workshop.store.ledger.judge(0xA1, effects.now()) == Refused("revoked", VM)

    asyncio.run(main())
