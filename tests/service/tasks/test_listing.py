# SPDX-License-Identifier: GPL-3.0-or-later
"""Lists of VMs: every field filters and sorts, pages hold everybody once, and what cannot be is named."""

import asyncio
import dataclasses
import datetime
import random
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.workshop import open_workshop

from openngt.errors import OpenNGTError
from openngt_service.ports import SessionInfo
from openngt_service.store.certificate_rows import Entry
from openngt_service.store.link_rows import LinkRow
from openngt_service.store.registry import Capabilities, Vm
from openngt_service.tasks.links import LinkView
from openngt_service.tasks.listing import KEEP_SECONDS, Orders, next_page, order_of, parse_listing
from openngt_service.tasks.record import Sight, vm_record
from openngt_service.tasks.vm_fields import FIELDS, Filter, parse_filter

NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
DAY = datetime.timedelta(days=1)
ROWS = 10_000


def identifier(number: int) -> str:
    return str(uuid.UUID(int=number))


def sight(number: int, name: str | None = None, **more: Any) -> Sight:
    vm = Vm(identifier(number), name or f"vm{number}", identifier(number), True, Capabilities(), 1, NOW)
    return dataclasses.replace(Sight(vm, None, None, LinkView(LinkRow(vm.vm_uuid)), "on"), **more)


def certificate(days: float, kind: Any = "link", first_used_at: datetime.datetime | None = None) -> Entry:
    end = NOW + days * DAY
    return Entry(1, identifier(1), identifier(1), 2, kind, "current", NOW - DAY, end, "", first_used_at)


def linked(number: int, version: str | None = "0.1.0", refusal: str | None = None) -> LinkView:
    row = LinkRow(identifier(number), version, {"guest_os_name": "Debian GNU/Linux 12"}, refusal_reason=refusal)
    session = SessionInfo(identifier(number), "", "s", 1, 1, "link", "192.0.2.1:1", "tls", NOW)
    return LinkView(row, session)


def matching(text: str, *sights: Sight) -> list[str]:
    wanted = parse_filter(text)
    return [one.vm.vm_name for one in sights if wanted.matches(one, NOW)]


FLEET = (
    sight(1, "web01", link=linked(1), certificate=certificate(80)),
    sight(2, "Web02", link=linked(2, "0.0.9", "retired"), certificate=certificate(30), power_state="off"),
    sight(3, "db[1]", certificate=certificate(-1)),
    sight(4, "db2", power_state="unknown"),
)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("vm_name=web*", ["web01", "Web02"]),
        ("vm_name=db[1]", ["db[1]"]),
        ("vm_name!=web*,db2", ["db[1]"]),
        (f"vm_uuid={identifier(4)}", ["db2"]),
        ("link=active", ["web01", "Web02"]),
        ("link=INACTIVE", ["db[1]", "db2"]),
        ("power_state=on", ["web01", "db[1]"]),
        ("power_state!=on,off", ["db2"]),
        ("expiry=WARN,FAIL", ["Web02", "db[1]"]),
        ("expiry=none", ["db2"]),
        ("days_left<=45", ["Web02", "db[1]"]),
        ("days_left>30", ["web01"]),
        ("certificate_expires<2026-02-15", ["Web02", "db[1]"]),
        ("certificate_expires>=2026-03-22T00:00:00+00:00", ["web01"]),
        ("agent_version<0.1", ["Web02"]),
        ("agent_version=0.1.0", ["web01"]),
        ("agent_version=none", ["db[1]", "db2"]),
        ("version=outdated", ["Web02"]),
        ("version=latest,none", ["web01", "db[1]", "db2"]),
        ("last_refusal=retired", ["Web02"]),
        ("guest_os=debian*", ["web01", "Web02"]),
        ("tools_iso_mounted=true", []),
        ("transport=tls", ["web01", "Web02"]),
    ],
)
def test_a_filter_keeps_what_it_says(text: str, names: list[str]) -> None:
    assert matching(text, *FLEET) == names


@pytest.mark.parametrize(
    ("text", "field", "hint"),
    [
        ("lnk=active", "filter", "vm_name"),
        ("link", "filter", "FIELD=VALUE"),
        ("link=up", "link", "inactive, active"),
        ("link<active", "link", "use = or !="),
        ("days_left<=soon", "days_left", "a whole number"),
        ("days_left<1,2", "days_left", "one value"),
        ("days_left<none", "days_left", "one value"),
        ("certificate_expires<tomorrow", "certificate_expires", "2026-12-31"),
        ("agent_version>new", "agent_version", "1.2.0"),
        ("vm_name=", "filter", "FIELD=VALUE"),
        ("vm_name=a,", "vm_name", "a text"),
    ],
)
def test_a_filter_that_cannot_be_names_its_field_and_what_is_allowed(text: str, field: str, hint: str) -> None:
    with pytest.raises(OpenNGTError) as caught:
        parse_filter(text)
    assert (caught.value.code, caught.value.details["field"]) == ("INVALID_INPUT", field)
    assert hint in caught.value.message
    assert caught.value.details["allowed"]


def test_an_unknown_order_names_every_field() -> None:
    with pytest.raises(OpenNGTError) as caught:
        parse_listing(sort="-colour")
    assert caught.value.message.startswith("sort: ") and caught.value.details["allowed"] == list(FIELDS)


def test_a_bootstrap_certificate_is_not_urgent_until_its_agent_should_have_changed_it() -> None:
    fresh = certificate(1, "bootstrap", NOW - datetime.timedelta(minutes=1))
    stuck = certificate(1, "bootstrap", NOW - datetime.timedelta(hours=1))
    for entry, state in ((fresh, "PASS"), (stuck, "WARN"), (certificate(-1, "bootstrap"), "FAIL")):
        assert vm_record(sight(1, certificate=entry), NOW)["certificate"]["expiry"] == state


def fleet_of(count: int) -> dict[str, Sight]:
    """VMs in no order, many of them equal in any one field."""
    chance = random.Random(7)
    found = {}
    for number in range(count):
        days = chance.choice([None, -1, 5, 40, 80, 400])
        view = linked(number, chance.choice([None, "0.0.9", "0.1", "0.1.0", "0.1.0rc1", "0.10.0", "odd"]))
        one = sight(
            number,
            f"vm{chance.randrange(count // 2)}",
            certificate=None if days is None else certificate(days, chance.choice(["link", "bootstrap"])),
            power_state=chance.choice(["on", "off", "paused", "unknown"]),
            link=view if chance.random() < 0.5 else dataclasses.replace(view, session=None),
        )
        found[one.vm.vm_uuid] = one
    return found


def pages(order: Sequence[Any], listing: Any, limit: int) -> Iterator[list[str]]:
    token = None
    while True:
        keys, token = next_page(listing, order, limit, token)
        yield [key[-1] for key in keys]
        if token is None:
            return


BIG = fleet_of(ROWS)


@pytest.mark.parametrize("descending", [False, True], ids=["ascending", "descending"])
@pytest.mark.parametrize("name", FIELDS)
def test_ten_thousand_vms_are_listed_once_each_in_the_order_of_any_field(name: str, descending: bool) -> None:
    listing = parse_listing(sort="-" * descending + name)
    order = order_of(listing, (one.vm for one in BIG.values()), lambda vm: BIG[vm.vm_uuid], NOW)
    seen = [vm_uuid for page in pages(order, listing, 999) for vm_uuid in page]
    assert len(seen) == len(set(seen)) == ROWS
    field = FIELDS[name]
    values = [field.value(BIG[vm_uuid], NOW) for vm_uuid in seen]
    known = [field.comparable(value) for value in values if value is not None]
    assert known == sorted(known, reverse=descending)
    assert values[: len(known)] == [value for value in values if value is not None], "what is not known comes last"


def test_filters_combine_and_ten_thousand_rows_are_judged_alike() -> None:
    texts = ["link=inactive", "power_state=on", "days_left<=45"]
    listing = parse_listing(filters=texts)
    order = order_of(listing, (one.vm for one in BIG.values()), lambda vm: BIG[vm.vm_uuid], NOW)
    by_hand = {
        vm_uuid
        for vm_uuid, one in BIG.items()
        if not one.link.active
        and one.power_state == "on"
        and one.certificate is not None
        and one.certificate.not_after <= NOW + 45 * DAY
    }
    assert by_hand and {key[-1] for key in order} == by_hand


def test_a_token_of_another_list_or_of_nobody_is_refused() -> None:
    listing = parse_listing(filters=["link=inactive"])
    order = order_of(listing, (one.vm for one in BIG.values()), lambda vm: BIG[vm.vm_uuid], NOW)
    _, token = next_page(listing, order, 10, None)
    assert token is not None
    for other in (parse_listing(), parse_listing(filters=["link=active"]), parse_listing(["vm1"])):
        with pytest.raises(OpenNGTError, match="page_token: it belongs to a list with other names"):
            next_page(other, order, 10, token)
    for bad in ("", "x", "WzEsMl0", token[:-3], identifier(3)):
        with pytest.raises(OpenNGTError, match="page_token: "):
            next_page(listing, order, 10, bad)
    with pytest.raises(OpenNGTError, match="limit: "):
        next_page(listing, order, 0, None)


def test_an_order_is_kept_for_the_pages_that_follow_and_not_for_ever() -> None:
    now = [0.0]
    orders = Orders(lambda: now[0])
    listing = parse_listing()
    orders.put(listing, [("0a", "a", "u")])
    assert orders.get(listing, None) is None, "a first page begins anew"
    assert orders.get(listing, "token") == [("0a", "a", "u")]
    now[0] = KEEP_SECONDS + 1
    assert orders.get(listing, "token") is None
    for number in range(100):
        orders.put(parse_listing([str(number)]), [])
    assert len(orders._kept) < 20


def test_pages_hold_every_vm_once_while_others_come_go_and_change(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_workshop(tmp_path) as workshop:
            registry, ledger = workshop.store.registry, workshop.store.ledger
            for number in range(1, 26):
                await registry.enable(identifier(number), f"vm{number % 7}", Capabilities(), actor="test")
            seen: list[str] = []
            token = None
            while True:
                page = await workshop.operations.vms(sort="-vm_name", limit=4, page_token=token)
                seen += [vm["vm_uuid"] for vm in page["items"]]
                token = page["next_page_token"]
                if token is None:
                    break
                if len(seen) == 4:
                    await ledger.revoke(seen[-1], actor="test", disable=True)
                    await registry.enable(identifier(100), "vm6", Capabilities(), actor="test")
                    workshop.operations._orders = Orders()  # as after a while: the token alone says where to go on
            assert len(seen) == len(set(seen))
            assert {identifier(number) for number in range(1, 26)} <= set(seen)
            named = await workshop.operations.vms(["vm3", identifier(2)])
            assert {vm["vm_name"] for vm in named["items"]} == {"vm2", "vm3"}
            off = next(vm for vm in registry.all() if vm.vm_name == "vm0")
            workshop.hypervisor.add(off.vm_uuid, "vm0", {}, "off")
            filtered = await workshop.operations.vms(filters=["power_state=off,paused"])
            assert [vm["vm_uuid"] for vm in filtered["items"]] == [off.vm_uuid]

    asyncio.run(main())


def test_the_pages_of_a_list_share_one_look_at_a_hypervisor_that_does_not_answer(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_workshop(tmp_path) as workshop:
            for number in range(1, 10):
                await workshop.store.registry.enable(identifier(number), "vm", Capabilities(), actor="test")
            looks, look = [], workshop.hypervisor.list_vms

            async def counted() -> Any:
                looks.append(1)
                return await look()

            workshop.hypervisor.faults["list_vms"] = "never"
            workshop.hypervisor.list_vms = counted  # type: ignore[method-assign]  # to count
            token, found = None, []
            while True:
                page = await workshop.operations.vms(limit=3, page_token=token)
                found += page["items"]
                token = page["next_page_token"]
                if token is None:
                    break
            assert len(found) == 9 and {vm["power_state"] for vm in found} == {"unknown"}
            assert len(looks) == 1
            await workshop.operations.vms(filters=["power_state=on"])
            assert len(looks) == 2, "a new list looks again, once"

    asyncio.run(main())


def test_every_field_says_what_it_allows() -> None:
    for field in FIELDS.values():
        assert field.allowed.endswith("or none")
        assert isinstance(parse_filter(f"{field.name}=none"), Filter)
