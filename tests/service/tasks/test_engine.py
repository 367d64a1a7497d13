# SPDX-License-Identifier: GPL-3.0-or-later
"""Tasks: one at a time for a VM, so many at once, and honest ends."""

import asyncio
from pathlib import Path
from typing import Any

from tests.fakes.waiting import PATIENCE_SECONDS
from tests.fakes.workshop import VM, Workshop, open_workshop

from openngt.errors import OpenNGTError
from openngt_service.tasks.engine import Progress


async def run(workshop: Workshop, work: Any, vm_uuid: str | None = VM) -> dict[str, Any]:
    record = await workshop.parts.engine.submit("test", vm_uuid, work, actor="test")
    return await workshop.operations.task(record.task_id, wait=PATIENCE_SECONDS)


def test_progress_is_seen_while_the_work_goes_on_and_after_a_restart(tmp_path: Path) -> None:
    async def main() -> None:
        go, reached = asyncio.Event(), asyncio.Event()

        async def work(progress: Progress) -> dict[str, Any]:
            await progress.step(40, "half way")
            reached.set()
            await go.wait()
            return {"drive": "ide0"}

        async with open_workshop(tmp_path) as workshop:
            record = await workshop.parts.engine.submit("test", VM, work, actor="test")
            await reached.wait()
            seen = await workshop.operations.task(record.task_id, wait=0.01)
            assert (seen["state"], seen["progress"], seen["step"]) == ("running", 40, "half way")
            assert "actor" not in seen
            go.set()
            ended = await workshop.operations.task(record.task_id, wait=PATIENCE_SECONDS)
            assert (ended["state"], ended["progress"], ended["result"]) == ("succeeded", 100, {"drive": "ide0"})
        async with open_workshop(tmp_path) as workshop:
            assert await workshop.operations.task(record.task_id) == ended

    asyncio.run(main())


def test_a_failure_keeps_its_code_and_a_defect_tells_no_secret(tmp_path: Path) -> None:
    async def fails(progress: Progress) -> dict[str, Any]:
        raise OpenNGTError("VM_BUSY", "held", {"holder": "me"})

    async def breaks(progress: Progress) -> dict[str, Any]:
        raise ValueError("canary-secret")

    async def main() -> None:
        async with open_workshop(tmp_path) as workshop:
            failed = await run(workshop, fails)
            assert (failed["state"], failed["error"]["code"]) == ("failed", "VM_BUSY")
            assert failed["error"]["details"] == {"holder": "me"} and failed["error"]["remedy"]
            broken = await run(workshop, breaks)
            assert (broken["state"], broken["error"]["code"]) == ("failed", "INTERNAL")
            assert "canary-secret" not in str(broken)

    asyncio.run(main())


def test_work_on_one_vm_is_done_in_turn_and_on_others_at_once(tmp_path: Path) -> None:
    async def main() -> None:
        running: list[str] = []
        most: dict[str, int] = {}
        everybody = asyncio.Event()

        def work_on(vm: str) -> Any:
            async def work(progress: Progress) -> dict[str, Any]:
                running.append(vm)
                most[vm] = max(most.get(vm, 0), running.count(vm))
                if len(set(running)) == 3:
                    everybody.set()
                await asyncio.wait_for(everybody.wait(), PATIENCE_SECONDS)
                running.remove(vm)
                return {}

            return work

        async with open_workshop(tmp_path) as workshop:
            vms = ["a", "b", "c", "a", "b", "a"]
            records = [await workshop.parts.engine.submit("test", vm, work_on(vm), actor="test") for vm in vms]
            for record in records:
                assert (await workshop.operations.task(record.task_id, wait=PATIENCE_SECONDS))["state"] == "succeeded"
            assert most == {"a": 1, "b": 1, "c": 1}
            assert not any(workshop.parts.engine.busy(vm) for vm in vms)

    asyncio.run(main())


def test_no_more_than_the_limit_are_in_flight(tmp_path: Path) -> None:
    async def main() -> None:
        now = most = 0
        two = asyncio.Event()

        async def work(progress: Progress) -> dict[str, Any]:
            nonlocal now, most
            now += 1
            most = max(most, now)
            if now == 2:
                two.set()
            await asyncio.wait_for(two.wait(), PATIENCE_SECONDS)
            await asyncio.sleep(0)
            now -= 1
            return {}

        async with open_workshop(tmp_path, tasks_in_flight=2) as workshop:
            records = [await workshop.parts.engine.submit("test", f"vm{n}", work, actor="test") for n in range(8)]
            for record in records:
                await workshop.operations.task(record.task_id, wait=PATIENCE_SECONDS)
            assert most == 2

    asyncio.run(main())


def test_a_graceful_stop_interrupts_and_says_so(tmp_path: Path) -> None:
    async def main() -> None:
        async def work(progress: Progress) -> dict[str, Any]:
            await asyncio.Event().wait()
            return {}

        async with open_workshop(tmp_path) as workshop:
            at_work = await workshop.parts.engine.submit("test", VM, work, actor="test")
            queued = await workshop.parts.engine.submit("test", VM, work, actor="test")
            await asyncio.sleep(0.05)
        async with open_workshop(tmp_path) as workshop:
            for record in (at_work, queued):
                ended = await workshop.operations.task(record.task_id)
                assert (ended["state"], ended["error"]["code"]) == ("interrupted", "TASK_FAILED")

    asyncio.run(main())
