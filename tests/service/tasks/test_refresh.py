# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificate refresh, over the link and by disc: the agent has come with the new one, or the failure has a name."""

import asyncio
import datetime
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from tests.fakes.agents import FakeAgents, agents_of, request_of
from tests.fakes.waiting import PATIENCE_SECONDS
from tests.fakes.workshop import HOLDER, VM, Workshop, open_workshop

from openngt import effects
from openngt.errors import OpenNGTError
from openngt.pki.inspect import inspect_certificate
from openngt_service.ports import Accepted, Refused
from openngt_service.tasks.refresh_plan import Ask, Via

Json = dict[str, Any]
DAY = datetime.timedelta(days=1)


def scenario(tmp_path: Path, story: Callable[[Workshop, FakeAgents], Awaitable[None]], **settings: Any) -> None:
    async def main() -> None:
        async with open_workshop(tmp_path, **settings) as workshop, agents_of(workshop) as agents:
            await story(workshop, agents)

    asyncio.run(main())


async def refreshed(workshop: Workshop, **ask: Any) -> tuple[Json, list[Json]]:
    """The fleet's task that has ended, and its rows."""
    asked = Ask(**{"wait_seconds": 5.0, **ask})
    task = await workshop.operations.refresh(asked, actor="test")
    ended = await workshop.operations.task(task["task_id"], wait=PATIENCE_SECONDS)
    rows = await workshop.operations.refresh_rows(task["task_id"])
    assert rows["task"]["task_id"] == task["task_id"] and rows["next_page_token"] is None
    return ended, rows["items"]


def clean(workshop: Workshop) -> bool:
    """No disc, no file, no mount of ours is left."""
    return (workshop.hypervisor.media(), workshop.iso_files(), workshop.store.mounts.all()) == ([], [], [])


@pytest.mark.parametrize("via", ["link", "iso", "auto"])
def test_the_agent_has_the_new_certificate_and_the_old_one_opens_nothing(tmp_path: Path, via: Via) -> None:
    async def story(workshop: Workshop, agents: FakeAgents) -> None:
        before = await agents.install(VM, "web1")
        old = agents.identity(VM).read_bytes()
        task, [row] = await refreshed(workshop, vm=("web1",), validity_days=400, via=via)
        assert task["state"] == "succeeded" and task["result"] == {"refreshed": 1}
        assert row["state"] == "refreshed" and row["via"] == ("iso" if via == "iso" else "link")
        assert row["old_serial"] == f"{before.serial:x}" != row["new_serial"]
        record = await workshop.operations.vm(VM)
        assert record["certificate"]["serial"] == row["new_serial"] and record["communication_link_active"]
        assert record["certificate"]["state"] == "current" and record["certificate"]["kind"] == "link"
        life = record["certificate"]["not_after"] - effects.now()
        assert 399 * DAY < life <= 400 * DAY
        assert await workshop.gateway.connect(old) == Refused("retired", VM)
        assert clean(workshop) and not agents.refused

    scenario(tmp_path, story)


@pytest.mark.parametrize("via", ["link", "iso"])
def test_the_private_key_of_a_capable_agent_is_never_seen_by_the_service(tmp_path: Path, via: Via) -> None:
    """T6: the disc's key is a bootstrap that is used once; the long-lived one is the agent's own."""

    async def story(workshop: Workshop, agents: FakeAgents) -> None:
        await agents.install(VM, "web1")
        _, [row] = await refreshed(workshop, vm=(VM,), via=via)
        assert row["key"] == "agent"
        rotations = [params for _, method, params in workshop.gateway.calls if method == "identity.rotate"]
        assert [sorted(params) for params in rotations] == [
            ["ca_pem", "certificate_pem", "config", "generation", "kind"]
        ]
        assert "PRIVATE" not in str(rotations)

    scenario(tmp_path, story)


def test_two_tasks_are_seen_for_a_vm_that_gets_a_disc_one_for_a_link(tmp_path: Path) -> None:
    async def story(workshop: Workshop, agents: FakeAgents) -> None:
        await agents.install(VM, "web1")
        for via, titles in (
            ("iso", ["Refreshing NGT certificates", "Mounting Nutanix Guest Tools iso image to VM"]),
            ("link", ["Refreshing NGT certificates"]),
        ):
            task, [row] = await refreshed(workshop, vm=(VM,), via=via)
            assert [seen["title"] for seen in row["tasks"]] == titles
            assert {(seen["state"], seen["progress"]) for seen in row["tasks"]} == {("succeeded", 100)}
            listed = (await workshop.operations.tasks(VM))["items"]
            assert {seen["title"] for seen in listed if seen["parent"] == task["task_id"]} == {titles[0]}
        assert {seen["kind"] for seen in listed} == {"refresh", "mount"}, "and nothing else was made visible"

    scenario(tmp_path, story)


def test_an_agent_without_openssl_gets_its_key_from_the_service(tmp_path: Path) -> None:
    async def story(workshop: Workshop, agents: FakeAgents) -> None:
        await agents.install(VM, "web1")
        agents.no_openssl.add(VM)
        _, [row] = await refreshed(workshop, vm=(VM,), via="link")
        assert (row["state"], row["key"]) == ("refreshed", "service")

    scenario(tmp_path, story)


def test_an_agent_that_cannot_ask_is_named_as_too_old_and_auto_takes_the_disc(tmp_path: Path) -> None:
    async def story(workshop: Workshop, agents: FakeAgents) -> None:
        before = await agents.install(VM, "web1")
        agents.too_old.add(VM)
        task, [row] = await refreshed(workshop, vm=(VM,), via="link")
        assert (task["state"], task["error"]["code"]) == ("failed", "AGENT_TOO_OLD")
        assert row["code"] == "AGENT_TOO_OLD" and "via: auto" in row["remedy"]
        session = workshop.gateway.session(VM)
        assert session is not None and session.serial == before.serial, "nothing was issued for it"
        _, [row] = await refreshed(workshop, vm=(VM,), via="auto")
        assert (row["state"], row["via"], row["key"]) == ("refreshed", "iso", "service")
        assert clean(workshop)

    scenario(tmp_path, story)


def test_a_guest_that_blocks_it_is_obeyed(tmp_path: Path) -> None:
    async def story(workshop: Workshop, agents: FakeAgents) -> None:
        before = await agents.install(VM, "web1")
        agents.blocking.add(VM)
        for via in ("link", "auto"):
            task, [row] = await refreshed(workshop, vm=(VM,), via=via)
            assert (task["error"]["code"], row["code"]) == ("METHOD_BLOCKED", "METHOD_BLOCKED")
            assert "blocked_methods" in row["remedy"] and workshop.hypervisor.inserted == 0
        _, [row] = await refreshed(workshop, vm=(VM,), via="iso")
        assert row["code"] == "METHOD_BLOCKED" and "which ends" in row["message"]
        agents.blocking.clear()
        assert clean(workshop)
        _, [row] = await refreshed(workshop, vm=(VM,))
        assert row["state"] == "refreshed" and row["old_serial"] != f"{before.serial:x}"

    scenario(tmp_path, story)


@pytest.mark.parametrize(
    "said",
    [
        None,
        7,
        "",
        "no pem",
        "\ud800" * 10,
        "A" * 100_000,
        request_of(ec.generate_private_key(ec.SECP384R1())).decode(),
    ],
    ids=lambda said: repr(said)[:12],
)
def test_a_request_that_is_none_gets_no_certificate(tmp_path: Path, said: object) -> None:
    """T9: what a guest says is judged before anything is issued; nothing of it is a defect of the service."""

    async def story(workshop: Workshop, agents: FakeAgents) -> None:
        await agents.install(VM, "web1")
        agents.requests[VM] = said
        _, [row] = await refreshed(workshop, vm=(VM,), via="link")
        assert row["code"] == "AGENT_FAILED" and len(workshop.store.ledger.all_live()) == 1

    scenario(tmp_path, story)


def test_a_lost_answer_is_no_failure_when_the_agent_comes_with_the_new_one(tmp_path: Path) -> None:
    async def story(workshop: Workshop, agents: FakeAgents) -> None:
        await agents.install(VM, "web1")
        agents.silent.add(VM)
        _, [row] = await refreshed(workshop, vm=(VM,), via="link")
        assert row["state"] == "refreshed"

    scenario(tmp_path, story)


@pytest.mark.parametrize("via", ["link", "iso"])
def test_whichever_identity_the_agent_has_after_a_refresh_that_it_did_not_end_is_good(tmp_path: Path, via: Via) -> None:
    """F5, the service's half."""

    async def story(workshop: Workshop, agents: FakeAgents) -> None:
        await agents.install(VM, "web1")
        old = agents.identity(VM).read_bytes()
        agents.gone.add(VM)
        agents.deaf.add(VM)
        task, [row] = await refreshed(workshop, vm=(VM,), via=via, wait_seconds=0.2)
        assert (task["state"], row["code"]) == ("failed", "AGENT_TIMED_OUT") and clean(workshop)
        assert row["new_serial"] is None
        for client_pem in {old, agents.identity(VM).read_bytes()}:
            serial = int(inspect_certificate(client_pem).serial, 16)
            assert isinstance(workshop.store.ledger.judge(serial, effects.now()), Accepted)

    scenario(tmp_path, story)


def test_an_expired_agent_is_refreshed_by_disc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Recovery needs neither the old key nor a link."""

    real = effects.now
    with monkeypatch.context() as patch:
        patch.setattr(effects, "now", lambda: real() - 3 * DAY)
        asyncio.run(_installed(tmp_path))
    scenario(tmp_path, _refresh_expired)


async def _installed(tmp_path: Path) -> None:
    async with open_workshop(tmp_path, validity_days=2) as workshop, agents_of(workshop) as agents:
        workshop.hypervisor.add(VM, "web1", {"cd0": None})
        await workshop.operations.enable(VM, {}, actor="test")
        [issued] = await workshop.operations.issue_batch([{"vm_uuid": VM}], actor="test")
        agents.identity(VM).write_text(issued["private_key_pem"] + issued["certificate_pem"])
        await workshop.store.ledger.promote(int(issued["serial"], 16))


async def _refresh_expired(workshop: Workshop, agents: FakeAgents) -> None:
    assert await agents.connect(VM) == Refused("expired", VM)
    _, [row] = await refreshed(workshop, vm=(VM,), threshold_days=0)
    assert row["state"] == "refreshed" and row["via"] == "iso" and row["reason"].startswith("expired on")


def fleet(count: int) -> dict[str, str]:
    return {f"web{number}": str(uuid.UUID(int=number + 1)) for number in range(count)}


def test_each_vm_that_cannot_be_refreshed_is_named_and_the_others_go_on(tmp_path: Path) -> None:
    async def story(workshop: Workshop, agents: FakeAgents) -> None:
        names = fleet(7)
        for name, vm_uuid in names.items():
            await agents.install(vm_uuid, name, {"cd0": "/isos/debian.iso" if name == "web2" else None})
        await agents.disconnect(names["web1"])
        workshop.hypervisor.set_power(names["web1"], "off")
        await agents.disconnect(names["web2"])
        agents.blocking.add(names["web3"])
        agents.deaf.add(names["web4"])
        held = await workshop.operations.mount(names["web4"], holder=HOLDER, config_only=True, actor="test")
        await workshop.result(held)
        workshop.hypervisor.add(str(uuid.UUID(int=99)), "stranger", {"cd0": None})
        workshop.hypervisor.add(str(uuid.UUID(int=98)), "empty", {"cd0": None})
        await workshop.operations.enable("empty", {}, actor="test")
        agents.deaf.add(names["web5"])
        await agents.disconnect(names["web5"])
        expected = {
            "web0": None,
            "web1": "VM_POWERED_OFF",
            "web2": "NO_EMPTY_DRIVE",
            "web3": "METHOD_BLOCKED",
            "web4": "VM_BUSY",
            "web5": "AGENT_TIMED_OUT",
            "web6": None,
            "stranger": "NOT_ENROLLED",
            "empty": "AGENT_NOT_INSTALLED",
        }
        task, rows = await refreshed(workshop, vm=tuple(expected), wait_seconds=3.0)
        assert {row["vm_name"]: row["code"] for row in rows} == expected
        assert all(row["remedy"] and row["message"] for row in rows if row["code"])
        assert task["error"]["code"] == "TASK_FAILED" and task["error"]["details"]["refreshed"] == 2
        assert task["progress"] == 100

    scenario(tmp_path, story)


def test_names_that_are_nobodys_or_several_are_told_at_once_before_any_change(tmp_path: Path) -> None:
    async def story(workshop: Workshop, agents: FakeAgents) -> None:
        names = fleet(2)
        for vm_uuid in names.values():
            await agents.install(vm_uuid, "twin", {"cd0": None}) if vm_uuid == names["web0"] else None
        workshop.hypervisor.add(names["web1"], "twin", {"cd0": None})
        await workshop.operations.enable(names["web1"], {}, actor="test")
        with pytest.raises(OpenNGTError) as failure:
            await refreshed(workshop, vm=("twin", "twim", names["web0"]))
        assert failure.value.code == "VM_AMBIGUOUS"
        assert [problem["code"] for problem in failure.value.details["problems"]] == ["VM_AMBIGUOUS", "VM_NOT_FOUND"]
        assert "near names: twin" in failure.value.message
        assert (await workshop.operations.tasks())["items"] == [] and len(workshop.store.ledger.all_live()) == 1

    scenario(tmp_path, story)


@pytest.mark.parametrize(
    ("ask", "field", "said"),
    [
        ({}, "vm", "threshold_days"),
        ({"vm": ()}, "vm", "empty"),
        ({"threshold_days": -1}, "threshold_days", "-1 is less than 0"),
        ({"vm": ("web1",), "validity_days": 0}, "validity_days", "0 is not from 1"),
        ({"vm": ("web1",), "validity_days": -5}, "validity_days", "-5 is not from 1"),
        ({"vm": ("web1",), "validity_days": 3650}, "validity_days", "beyond the CA's own end"),
        ({"threshold_days": 90, "validity_days": 90}, "threshold_days", "due again at once"),
        ({"threshold_days": 90, "validity_days": 100, "jitter_days": 10}, "threshold_days", "due again at once"),
        ({"vm": ("web1",), "validity_days": 100, "jitter_days": 100}, "jitter_days", "from 0 to 99"),
        ({"vm": ("web1",), "max_in_flight": 0}, "max_in_flight", "from 1"),
    ],
)
def test_what_makes_no_sense_is_refused_by_the_name_of_its_field(
    tmp_path: Path, ask: Json, field: str, said: str
) -> None:
    async def story(workshop: Workshop, agents: FakeAgents) -> None:
        await agents.install(VM, "web1")
        for call in (workshop.operations.plan_refresh(Ask(**ask)), workshop.operations.refresh(Ask(**ask), actor="t")):
            with pytest.raises(OpenNGTError) as failure:
                await call
            assert failure.value.code == "INVALID_INPUT" and failure.value.details["field"] == field
            assert failure.value.message.startswith(f"{field}: ") and said in failure.value.message
        assert (await workshop.operations.tasks())["items"] == []

    scenario(tmp_path, story)


def test_the_threshold_chooses_says_why_and_a_second_run_changes_nothing(tmp_path: Path) -> None:
    async def story(workshop: Workshop, agents: FakeAgents) -> None:
        names = fleet(3)
        for name, vm_uuid in names.items():
            await agents.install(vm_uuid, name)
        await refreshed(workshop, vm=("web1",), validity_days=30)
        workshop.hypervisor.add(VM, "new", {"cd0": None})
        await workshop.operations.enable("new", {}, actor="test")
        serials = {entry.serial for entry in workshop.store.ledger.all_live()}
        rows = {
            row["vm_name"]: row for row in (await workshop.operations.plan_refresh(Ask(threshold_days=45)))["items"]
        }
        assert {name: row["state"] for name, row in rows.items()} == {
            "web0": "unchanged",
            "web1": "due",
            "web2": "unchanged",
            "new": "unchanged",
        }
        assert rows["web1"]["reason"] == "expires in 30 days" and rows["web1"]["via"] == "link"
        assert rows["web1"]["new_not_after"] - rows["web1"]["old_not_after"] > 900 * DAY
        assert rows["web0"]["reason"] == "expires in 1000 days, threshold_days is 45"
        assert serials == {entry.serial for entry in workshop.store.ledger.all_live()}, "a plan changes nothing"
        for expected in (["web1"], []):
            task, done = await refreshed(workshop, threshold_days=45)
            assert [row["vm_name"] for row in done] == expected and task["result"] == {"refreshed": len(expected)}

    scenario(tmp_path, story)


def test_a_named_vm_that_is_not_due_is_left_alone(tmp_path: Path) -> None:
    async def story(workshop: Workshop, agents: FakeAgents) -> None:
        await agents.install(VM, "web1")
        task, rows = await refreshed(workshop, vm=(VM,), threshold_days=45)
        assert (task["state"], rows, workshop.gateway.calls) == ("succeeded", [], [])

    scenario(tmp_path, story)


def test_no_more_than_max_in_flight_at_a_time_and_lives_are_spread(tmp_path: Path) -> None:
    async def story(workshop: Workshop, agents: FakeAgents) -> None:
        names = fleet(24)
        for name, vm_uuid in names.items():
            await agents.install(vm_uuid, name)
        _, rows = await refreshed(workshop, vm=tuple(names), max_in_flight=3)
        assert agents.busy_most <= 3 and {row["state"] for row in rows} == {"refreshed"}
        ends = {row["new_not_after"][:10] for row in rows}
        left = [
            (workshop.store.ledger.certificate_of(vm).not_after - effects.now()) / DAY  # type: ignore[union-attr]
            for vm in names.values()
        ]
        assert len(ends) > 5 and min(left) >= 949 and max(left) <= 1000
        _, rows = await refreshed(workshop, vm=tuple(names), validity_days=500)
        assert len({row["new_not_after"][:10] for row in rows}) <= 2, "who says a life gets it"

    scenario(tmp_path, story)


def test_many_requests_for_one_vm_at_once_give_it_one_certificate_and_one_disc(tmp_path: Path) -> None:
    """T42."""

    async def story(workshop: Workshop, agents: FakeAgents) -> None:
        await agents.install(VM, "web1")
        issued = len(workshop.store.ledger._entries)
        many = await asyncio.gather(*(refreshed(workshop, vm=(VM,), via="iso") for _ in range(30)))
        assert {task["state"] for task, _ in many} == {"succeeded"}
        assert len({row["new_serial"] for _, [row] in many}) == 1 and workshop.hypervisor.inserted == 1
        assert len(workshop.store.ledger._entries) - issued == 2, "the disc's and the one that follows it"
        assert clean(workshop)

    scenario(tmp_path, story)


def test_a_full_disk_delays_a_refresh_and_breaks_nothing(tmp_path: Path) -> None:
    """F8: what cannot be written down is not handed out; with space again the same refresh goes on."""

    async def story(workshop: Workshop, agents: FakeAgents) -> None:
        before = await agents.install(VM, "web1")
        real, full = workshop.store.database.write, [True]

        async def write(*args: Any, **more: Any) -> Any:
            if full[0]:
                raise OpenNGTError("NO_SPACE", "no space left on device")
            return await real(*args, **more)

        workshop.store.database.write = write  # type: ignore[method-assign]
        with pytest.raises(OpenNGTError) as failure:
            await workshop.operations.refresh(Ask(vm=(VM,)), actor="test")
        assert failure.value.code == "NO_SPACE" and not workshop.gateway.calls
        full[0] = False
        _, [row] = await refreshed(workshop, vm=(VM,))
        assert row["state"] == "refreshed" and row["old_serial"] == f"{before.serial:x}"

    scenario(tmp_path, story)


def test_rows_come_in_pages(tmp_path: Path) -> None:
    async def story(workshop: Workshop, agents: FakeAgents) -> None:
        names = fleet(5)
        for name, vm_uuid in names.items():
            await agents.install(vm_uuid, name)
        task, whole = await refreshed(workshop, vm=tuple(names))
        seen, token = [], None
        while True:
            page = await workshop.operations.refresh_rows(task["task_id"], limit=2, page_token=token)
            seen += page["items"]
            token = page["next_page_token"]
            if token is None:
                break
        assert seen == whole and len(seen) == 5

    scenario(tmp_path, story)


def test_a_drive_that_the_guest_holds_is_emptied_all_the_same(tmp_path: Path) -> None:
    async def story(workshop: Workshop, agents: FakeAgents) -> None:
        await agents.install(VM, "web1")
        refresh = asyncio.ensure_future(refreshed(workshop, vm=(VM,), via="iso"))
        while not workshop.hypervisor.media():
            await asyncio.sleep(0.001)
        workshop.hypervisor.lock(VM, "cd0")
        _, [row] = await refresh
        assert row["state"] == "refreshed" and clean(workshop)

    scenario(tmp_path, story)


def test_an_iso_that_cannot_be_taken_out_is_left_to_the_reconciler(tmp_path: Path) -> None:
    async def story(workshop: Workshop, agents: FakeAgents) -> None:
        await agents.install(VM, "web1")
        workshop.hypervisor.faults["eject"] = "refused"
        _, [row] = await refreshed(workshop, vm=(VM,), via="iso")
        assert row["state"] == "refreshed" and not clean(workshop)
        workshop.hypervisor.faults.clear()
        await workshop.background.reconciler.settle_all()
        assert clean(workshop)

    scenario(tmp_path, story)


def test_after_a_restart_it_goes_on_and_what_is_done_stays_done(tmp_path: Path) -> None:
    names = fleet(6)

    async def first() -> str:
        async with open_workshop(tmp_path) as workshop, agents_of(workshop) as agents:
            for name, vm_uuid in names.items():
                await agents.install(vm_uuid, name)
            agents.gone.add(names["web3"])
            held = agents.identity(names["web3"]).read_bytes()
            task = await workshop.operations.refresh(
                Ask(vm=tuple(names), max_in_flight=1, wait_seconds=60.0), actor="test"
            )
            async with asyncio.timeout(PATIENCE_SECONDS):
                while agents.identity(names["web3"]).read_bytes() == held:
                    await asyncio.sleep(0.005)
            return str(task["task_id"])

    async def second(task_id: str) -> None:
        async with open_workshop(tmp_path) as workshop, agents_of(workshop) as agents:
            before = {row["vm_name"]: row for row in (await workshop.operations.refresh_rows(task_id))["items"]}
            done = {name: row["new_serial"] for name, row in before.items() if row["state"] == "refreshed"}
            assert "web3" not in done and before["web3"]["state"] in ("waiting", "running")
            for vm_uuid in names.values():
                await agents.connect(vm_uuid)
            assert not agents.refused
            ended = await workshop.operations.task(task_id, wait=PATIENCE_SECONDS)
            assert ended["state"] == "succeeded" and ended["result"] == {"refreshed": 6}
            after = {row["vm_name"]: row for row in (await workshop.operations.refresh_rows(task_id))["items"]}
            assert {name: after[name]["new_serial"] for name in done} == done
            assert {row["state"] for row in after.values()} == {"refreshed"}
            handed = [vm for vm, method, _ in workshop.gateway.calls if method == "identity.rotate"]
            assert names["web3"] not in handed, "it came with what it had been given before the restart"

    asyncio.run(second(asyncio.run(first())))
