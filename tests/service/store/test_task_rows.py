# SPDX-License-Identifier: GPL-3.0-or-later
"""Tasks and idempotency keys on disk."""

import asyncio
import datetime
from dataclasses import replace

import pytest

from openngt import effects
from openngt.errors import OpenNGTError
from openngt_service.store.task_rows import RequestKey, TaskRecord, request_key

from .conftest import OpenStore

VM = "6f1c0c2e-9d3a-4d0e-8a55-0c6a1f0b7e21"


def task(number: int, **values: object) -> TaskRecord:
    now = effects.now() + datetime.timedelta(seconds=number)
    record = TaskRecord(f"{number:032x}", "mount", VM, "ci", "queued", 0, "queued", None, None, now, now)
    return replace(record, **values)  # type: ignore[arg-type]  # a test's shorthand


def key(actor: str = "ci", holder: str = "me") -> RequestKey:
    return request_key(actor, "k1", "POST /v1/vms/x/mount", {"holder": holder})


def test_the_same_request_gets_the_task_that_the_first_one_made(opened: OpenStore) -> None:
    async def main() -> None:
        async with opened() as store:
            first = await store.tasks.create(task(1), key())
        async with opened() as store:
            assert await store.tasks.create(task(2), key()) == (first[0], False)
            assert await store.tasks.get(f"{2:032x}") is None
            other, created = await store.tasks.create(task(3), key(actor="somebody else"))
            assert created and other.task_id == f"{3:032x}", "keys belong to their callers"

    asyncio.run(main())


def test_a_key_of_another_request_is_refused_and_leaves_no_task(opened: OpenStore) -> None:
    async def main() -> None:
        async with opened() as store:
            await store.tasks.create(task(1), key())
            with pytest.raises(OpenNGTError) as failure:
                await store.tasks.create(task(2), key(holder="other"))
            assert failure.value.code == "IDEMPOTENCY_MISMATCH"
            assert await store.tasks.get(f"{2:032x}") is None

    asyncio.run(main())


@pytest.mark.parametrize("text", ["", "x" * 129, "a\nb", "schlüssel"])
def test_a_key_that_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(OpenNGTError) as failure:
        request_key("ci", text, "POST", {})
    assert failure.value.code == "INVALID_INPUT"


def test_pages_are_newest_first_and_of_one_vm_when_asked(opened: OpenStore) -> None:
    async def main() -> None:
        async with opened() as store:
            for number in range(1, 8):
                await store.tasks.create(task(number, vm_uuid=VM if number % 2 else None))
            first = await store.tasks.page(vm_uuid=VM, limit=3)
            rest = await store.tasks.page(vm_uuid=VM, limit=3, page_token=first.next_page_token)
            numbers = [int(record.task_id, 16) for record in first.items + rest.items]
            assert (numbers, rest.next_page_token) == ([7, 5, 3, 1], None)

    asyncio.run(main())


def test_what_a_dead_process_left_is_interrupted_and_old_tasks_are_forgotten(opened: OpenStore) -> None:
    async def main() -> None:
        async with opened() as store:
            await store.tasks.create(task(1), key())
            await store.tasks.create(task(2, state="running"))
            await store.tasks.create(task(3, state="succeeded", result={"drive": "ide0"}))
        async with opened() as store:
            assert await store.tasks.interrupt_unfinished() == 2
            states = [record.state for record in (await store.tasks.page()).items]
            assert states == ["succeeded", "interrupted", "interrupted"]
            await store.tasks.forget_old(effects.now() + datetime.timedelta(days=29))
            assert len((await store.tasks.page()).items) == 3
            _, created = await store.tasks.create(task(4), key(holder="other"))
            assert created, "keys live a day"
            await store.tasks.forget_old(effects.now() + datetime.timedelta(days=31))
            assert [record.state for record in (await store.tasks.page()).items] == ["queued"]

    asyncio.run(main())
