# SPDX-License-Identifier: GPL-3.0-or-later
"""A network for a card that the VM does not have: the guest would wait for it, so it is refused before."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.customized_workshop import apply
from tests.fakes.workshop import VM, Workshop, open_workshop

from openngt.errors import OpenNGTError

MINE, OTHERS = "52:54:00:12:34:56", "52:54:00:ab:cd:ef"


def interface(mac: str) -> dict[str, Any]:
    return {"options": {"interfaces": [{"mac": mac, "addresses": ["192.0.2.10/24"]}]}}


def network(mac: str, **more: Any) -> dict[str, Any]:
    return {"network": {"version": 2, "ethernets": {"nic0": {"match": {"macaddress": mac}, "dhcp4": True, **more}}}}


def add_vm(workshop: Workshop, cards: list[str] | None) -> None:
    workshop.hypervisor.add(VM, "web1", {"ide1": None}, "off")
    if cards is not None:
        workshop.hypervisor.guest(VM, cards=cards)


REFUSED = {
    "an option": (interface(OTHERS), [MINE], f"has {MINE}"),
    "a config drive": ({**interface(OTHERS.upper()), "datasource": "config_drive"}, [MINE], f"has {MINE}"),
    "a network of one's own": (network(OTHERS), [MINE], f"has {MINE}"),
    "netplan's form": ({"network": network(OTHERS)}, [MINE], f"has {MINE}"),
    "of cloudbase-init": ({**network(OTHERS), "format": "cloudbase_init"}, [MINE], f"has {MINE}"),
    "of sysprep": ({"options": interface(OTHERS)["options"], "format": "sysprep"}, [MINE], f"has {MINE}"),
    "a VM without a card": (interface(OTHERS), [], "it has none"),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED.keys())
def test_a_card_that_the_vm_does_not_have_is_named_beside_those_it_has_and_nothing_is_written(
    tmp_path: Path, case: tuple[dict[str, Any], list[str], str]
) -> None:
    spec, cards, has = case

    async def main() -> None:
        async with open_workshop(tmp_path) as workshop:
            add_vm(workshop, cards)
            for work in (workshop.operations.customizations.plan(VM, spec, power_on=False), apply(workshop, spec)):
                with pytest.raises(OpenNGTError) as caught:
                    await work
                assert caught.value.code == "NO_SUCH_CARD"
                assert caught.value.details == {"missing": [OTHERS], "cards": cards}
                assert OTHERS in caught.value.message and has in caught.value.message
            assert workshop.hypervisor.media() == [] and workshop.store.customizations.all() == []

    asyncio.run(main())


TAKEN: dict[str, tuple[dict[str, Any], list[str] | None]] = {
    "its own card": (interface(MINE.upper().replace(":", "-")), [OTHERS, MINE]),
    "a card that may be missing": (network(OTHERS, optional=True), [MINE]),
    "cards that the adapter cannot tell": (interface(OTHERS), None),
    "no network": ({"options": {"hostname": "web1"}}, [MINE]),
}


@pytest.mark.parametrize("case", TAKEN.values(), ids=TAKEN.keys())
def test_the_rest_is_taken(tmp_path: Path, case: tuple[dict[str, Any], list[str] | None]) -> None:
    spec, cards = case

    async def main() -> None:
        async with open_workshop(tmp_path) as workshop:
            add_vm(workshop, cards)
            assert (await workshop.operations.customizations.plan(VM, spec, power_on=False))["changed"] is True
            assert (await apply(workshop, spec))["changed"] is True

    asyncio.run(main())


def test_a_vm_that_has_it_is_not_refused_for_a_card_that_was_changed_since(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_workshop(tmp_path) as workshop:
            add_vm(workshop, [MINE])
            await apply(workshop, interface(MINE))
            workshop.hypervisor.guest(VM, cards=[OTHERS])
            assert (await apply(workshop, interface(MINE)))["changed"] is False

    asyncio.run(main())
