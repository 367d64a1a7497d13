# SPDX-License-Identifier: GPL-3.0-or-later
"""Enrolled VMs: finding, paging without a cap, enabling again."""

import asyncio
import uuid

import pytest

from openngt.errors import OpenNGTError
from openngt_service.store.registry import Capabilities

from .conftest import OpenStore


def identifier(number: int) -> str:
    return str(uuid.UUID(int=number))


def test_enabling_twice_changes_nothing_and_capabilities_change_in_place(opened: OpenStore) -> None:
    async def main() -> None:
        async with opened() as store:
            first, created = await store.registry.enable(identifier(1), "web", Capabilities(), actor="test")
            again, created_again = await store.registry.enable(identifier(1), "web", Capabilities(), actor="test")
            assert (created, created_again) == (True, False)
            assert first == again
            assert (await store.audit.head()).sequence == 1, "nothing happened the second time"
            only = Capabilities(vss_snapshot=False)
            changed, created = await store.registry.enable(identifier(1), "web", only, actor="test")
            assert (changed.ngt_uuid, changed.capabilities, created) == (first.ngt_uuid, only, False)
        async with opened() as store:
            assert store.registry.find("web") == changed

    asyncio.run(main())


def test_a_vm_is_found_by_uuid_in_any_case_or_by_name(opened: OpenStore) -> None:
    async def main() -> None:
        async with opened() as store:
            vm, _ = await store.registry.enable(
                "6f1c0c2e-9d3a-4d0e-8a55-0c6a1f0b7e21", "web-1", Capabilities(), actor="test"
            )
            assert store.registry.find("6F1C0C2E-9D3A-4D0E-8A55-0C6A1F0B7E21") == vm == store.registry.find("web-1")
            with pytest.raises(OpenNGTError) as failure:
                store.registry.find("web1")
            assert (failure.value.code, failure.value.details["near"]) == ("NOT_ENROLLED", ["web-1"])
            await store.registry.enable(identifier(2), "web-1", Capabilities(), actor="test")
            with pytest.raises(OpenNGTError) as failure:
                store.registry.find("web-1")
            assert failure.value.code == "VM_AMBIGUOUS"
            assert len(failure.value.details["vms"]) == 2

    asyncio.run(main())


def test_pages_hold_every_vm_once_also_when_one_goes_meanwhile(opened: OpenStore) -> None:
    async def main() -> None:
        async with opened() as store:
            for number in range(1, 26):
                await store.registry.enable(identifier(number), f"vm{number % 7}", Capabilities(), actor="test")
            seen: list[str] = []
            token = None
            while True:
                page = store.registry.page(limit=4, page_token=token)
                seen += [vm.vm_uuid for vm in page.items]
                token = page.next_page_token
                if token is None:
                    break
                if len(seen) == 4:
                    await store.ledger.revoke(token, actor="test", disable=True)
            assert len(seen) == len(set(seen)) == 25
            named = store.registry.page(["vm3", identifier(2)])
            assert {vm.vm_name for vm in named.items} == {"vm2", "vm3"}

    asyncio.run(main())


@pytest.mark.parametrize("query", [{"limit": 0}, {"page_token": "00000000-0000-0000-0000-00000000ffff"}])
def test_a_page_that_cannot_be_is_refused(opened: OpenStore, query: dict[str, object]) -> None:
    async def main() -> None:
        async with opened() as store:
            with pytest.raises(OpenNGTError) as failure:
                store.registry.page(**query)  # type: ignore[arg-type]  # parametrized
            assert failure.value.code == "INVALID_INPUT"

    asyncio.run(main())
