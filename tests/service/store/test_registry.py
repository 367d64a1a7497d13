# SPDX-License-Identifier: GPL-3.0-or-later
"""Enrolled VMs: finding, paging without a cap, enabling again."""

import asyncio
import uuid

import pytest

from openngt.errors import OpenNGTError
from openngt_service.store.registry import Capabilities, near_names

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


@pytest.mark.parametrize(
    ("wanted", "meant"),
    [("prod-web-4711x", "prod-web-4711"), ("PROD-WEB-4711", "prod-web-4711"), ("ldap1", "LDAP01")],
)
def test_a_mistyped_name_is_recognised_in_a_large_fleet(wanted: str, meant: str) -> None:
    near = near_names(wanted, ["LDAP01", *(f"prod-web-{number:04d}" for number in range(10_000))])
    assert near[0] == meant and len(near) <= 5


def test_of_a_small_fleet_every_name_is_compared() -> None:
    assert near_names("ewb1", ["db1", "mail1", "web1"])[0] == "web1"
    assert near_names("xxxxx", ["db1", "mail1", "web1"]) == []
