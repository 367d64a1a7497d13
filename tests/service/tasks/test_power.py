# SPDX-License-Identifier: GPL-3.0-or-later
"""Power verbs from the request to the state that the hypervisor shows."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, get_args

import pytest
from tests.fakes.waiting import PATIENCE_SECONDS
from tests.fakes.workshop import HOLDER, VM, Workshop, open_workshop

from openngt.errors import OpenNGTError
from openngt_service.api.models import PowerRequest as PowerBody
from openngt_service.ports import SessionInfo
from openngt_service.store.task_rows import request_key
from openngt_service.tasks import power as power_module
from openngt_service.tasks.power_plan import FALLBACKS, VERBS, PowerRequest

USERS = "/isos/debian.iso"
Scenario = Callable[[Workshop], Awaitable[None]]
Run = Callable[..., None]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A workshop with one VM, on unless said otherwise; waiting costs no seconds."""
    monkeypatch.setattr(power_module, "POLL_SECONDS", 0.01)

    def play(scenario: Scenario, power_state: str = "on") -> None:
        async def main() -> None:
            async with open_workshop(tmp_path) as workshop:
                workshop.hypervisor.add(VM, "web1", {"ide0": USERS, "ide1": None}, power_state)
                await scenario(workshop)

        asyncio.run(main())

    return play


async def failure(call: Awaitable[Any]) -> OpenNGTError:
    with pytest.raises(OpenNGTError) as caught:
        await call
    return caught.value


async def power_state(workshop: Workshop) -> str:
    [vm] = await workshop.operations.hypervisor_vms(VM)
    return str(vm["power_state"])


async def linked(workshop: Workshop, boot_id: str = "boot-1") -> SessionInfo:
    """The VM is enrolled and its agent connected with a long-lived identity."""
    if workshop.store.registry.get(VM) is None:
        await workshop.operations.enable(VM, {}, actor="test")
    [issued] = await workshop.operations.issue_batch([{"vm_uuid": VM}], actor="test")
    session = await workshop.gateway.connect((issued["private_key_pem"] + issued["certificate_pem"]).encode(), boot_id)
    assert isinstance(session, SessionInfo)
    return session


async def trail(workshop: Workshop) -> list[tuple[str, Any, Any]]:
    rows = await workshop.store.audit.page()
    return [(row.actor, row.details["verb"], row.details["action"]) for row in rows if row.verb == "vm.power"]


def shuts_down(workshop: Workshop) -> None:
    """A guest that obeys its agent."""
    workshop.gateway.obey = lambda vm_uuid, method: workshop.hypervisor.set_power(vm_uuid, "off")


def test_the_api_knows_the_verbs_and_fallbacks_of_the_tasks() -> None:
    assert get_args(PowerBody.model_fields["verb"].annotation) == VERBS
    assert get_args(PowerBody.model_fields["fallback"].annotation) == FALLBACKS


@pytest.mark.parametrize(
    ("verb", "before", "after", "done"),
    [
        ("on", "off", "on", ["on"]),
        ("on", "on", "on", []),
        ("off", "on", "off", ["off"]),
        ("off", "paused", "off", ["off"]),
        ("off", "off", "off", []),
        ("shutdown", "on", "off", ["shutdown"]),
        ("shutdown", "off", "off", []),
        ("guest_shutdown", "off", "off", []),
        ("reset", "on", "on", ["reset"]),
        ("power_cycle", "on", "on", ["off", "on"]),
        ("power_cycle", "paused", "on", ["off", "on"]),
    ],
)
def test_a_verb_ends_in_its_state_and_changes_nothing_where_that_is_there(
    run: Run, verb: str, before: str, after: str, done: list[str]
) -> None:
    """Any VM of the hypervisor, enrolled or not; `check` foretells the same and does nothing."""

    async def scenario(workshop: Workshop) -> None:
        foretold = await workshop.power(verb, check=True)
        assert (workshop.hypervisor.done, await trail(workshop)) == ([], [])
        result = await workshop.power(verb)
        assert (result["before"], result["power_state"], result["changed"]) == (before, after, bool(done))
        assert await power_state(workshop) == after
        assert workshop.hypervisor.done == done
        assert await trail(workshop) == [("test", verb, action) for action in done]
        assert {**result, "stopped_by": None} == foretold

    run(scenario, before)


@pytest.mark.parametrize(
    ("verb", "state", "code"),
    [
        ("reset", "off", "VM_POWERED_OFF"),
        ("power_cycle", "off", "VM_POWERED_OFF"),
        ("guest_reboot", "off", "VM_POWERED_OFF"),
        ("on", "paused", "VM_PAUSED"),
        ("shutdown", "paused", "VM_PAUSED"),
        ("reset", "paused", "VM_PAUSED"),
        ("guest_shutdown", "on", "NOT_ENROLLED"),
        ("guest_reboot", "on", "NOT_ENROLLED"),
        ("on", "unknown", "HYPERVISOR_FAILED"),
    ],
)
@pytest.mark.parametrize("check", [False, True])
def test_a_verb_that_makes_no_sense_is_refused_in_check_mode_too(
    run: Run, verb: str, state: str, code: str, check: bool
) -> None:
    async def scenario(workshop: Workshop) -> None:
        assert (await failure(workshop.power(verb, check=check))).code == code
        assert workshop.hypervisor.done == []

    run(scenario, state)


@pytest.mark.parametrize(("verb", "fallback"), [("on", "off"), ("shutdown", "acpi"), ("guest_reboot", "off")])
def test_a_fallback_that_the_verb_has_no_use_for_is_refused_by_name(verb: Any, fallback: Any) -> None:
    with pytest.raises(OpenNGTError, match=f"fallback: {verb} knows") as caught:
        PowerRequest(VM, verb, fallback)
    assert caught.value.code == "INVALID_INPUT"


def test_a_guest_that_ignores_acpi_is_named_with_what_to_do_next(run: Run) -> None:
    async def scenario(workshop: Workshop) -> None:
        workshop.hypervisor.guest(VM, ignores_acpi=True)
        ignored = await failure(workshop.power("shutdown"))
        assert ignored.code == "ACPI_IGNORED" and "guest_shutdown" in ignored.remedy
        assert ignored.message.endswith("its agent is not connected either")
        await linked(workshop)
        assert (await failure(workshop.power("shutdown"))).message.endswith("its agent is connected")
        assert await power_state(workshop) == "on", "nobody allowed more"
        result = await workshop.power("shutdown", fallback="off")
        assert (result["stopped_by"], [way["code"] for way in result["failed_before"]]) == ("off", ["ACPI_IGNORED"])
        assert workshop.hypervisor.done == ["shutdown", "shutdown", "shutdown", "off"]

    run(scenario)


def test_a_guest_is_shut_down_by_its_agent(run: Run) -> None:
    async def scenario(workshop: Workshop) -> None:
        await linked(workshop)
        shuts_down(workshop)
        result = await workshop.power("guest_shutdown", fallback="off")
        assert (result["stopped_by"], result["failed_before"]) == ("agent", [])
        assert workshop.hypervisor.done == []
        assert [call[:2] for call in workshop.gateway.calls] == [(VM, "guest.shutdown")]
        assert await trail(workshop) == [("test", "guest_shutdown", "guest.shutdown")]

    run(scenario)


@pytest.mark.parametrize(
    ("fallback", "ignores_acpi", "outcome", "done"),
    [
        ("none", False, "GUEST_STILL_RUNS", []),
        ("acpi", False, "acpi", ["shutdown"]),
        ("acpi", True, "ACPI_IGNORED", ["shutdown"]),
        ("off", False, "acpi", ["shutdown"]),
        ("off", True, "off", ["shutdown", "off"]),
    ],
)
def test_a_shutdown_goes_as_far_as_the_option_says_and_no_further(
    run: Run, fallback: str, ignores_acpi: bool, outcome: str, done: list[str]
) -> None:
    """A guest whose agent takes the order and whose services do not end."""

    async def scenario(workshop: Workshop) -> None:
        await linked(workshop)
        workshop.hypervisor.guest(VM, ignores_acpi=ignores_acpi)
        if outcome.isupper():
            failed = await failure(workshop.power("guest_shutdown", fallback=fallback))
            assert failed.code == outcome
            before = failed.details.get("failed_before", [])
        else:
            result = await workshop.power("guest_shutdown", fallback=fallback)
            assert result["stopped_by"] == outcome
            before = result["failed_before"]
        assert [way["by"] for way in before] == ["agent", "acpi"][: len(before)]
        assert workshop.hypervisor.done == done

    run(scenario)


@pytest.mark.parametrize("code", ["LINK_NOT_ACTIVE", "AGENT_TOO_OLD", "AGENT_FAILED"])
def test_an_agent_that_cannot_is_a_reason_to_fall_back(run: Run, code: str) -> None:
    async def scenario(workshop: Workshop) -> None:
        await linked(workshop)
        workshop.gateway.failure = OpenNGTError(code, "no", {"outcome": "not_sent"})
        assert (await failure(workshop.power("guest_shutdown"))).code == code
        result = await workshop.power("guest_shutdown", fallback="acpi")
        assert (result["stopped_by"], result["failed_before"][0]["code"]) == ("acpi", code)

    run(scenario)


def test_without_a_link_only_a_fallback_stops_the_guest(run: Run) -> None:
    async def scenario(workshop: Workshop) -> None:
        await workshop.operations.enable(VM, {}, actor="test")
        assert (await failure(workshop.power("guest_shutdown"))).code == "LINK_NOT_ACTIVE"
        assert (await workshop.power("guest_shutdown", fallback="acpi"))["stopped_by"] == "acpi"

    run(scenario)


@pytest.mark.parametrize("verb", ["guest_shutdown", "guest_reboot"])
def test_the_word_of_the_guests_administrator_is_final_whatever_the_fallback(run: Run, verb: str) -> None:
    """T39."""

    async def scenario(workshop: Workshop) -> None:
        await linked(workshop)
        workshop.gateway.failure = OpenNGTError("METHOD_BLOCKED", "the guest's administrator has blocked it")
        fallback = "off" if verb == "guest_shutdown" else "none"
        refused = await failure(workshop.power(verb, fallback=fallback))
        assert refused.code == "METHOD_BLOCKED" and "blocked_methods" in refused.remedy
        assert (await power_state(workshop), workshop.hypervisor.done) == ("on", [])

    run(scenario)


def test_an_answer_that_was_lost_with_the_machine_is_no_failure(run: Run) -> None:
    async def scenario(workshop: Workshop) -> None:
        await linked(workshop)
        workshop.gateway.failure = OpenNGTError("LINK_NOT_ACTIVE", "the link ended", {"outcome": "unknown"})
        stopping = asyncio.create_task(workshop.power("guest_shutdown", wait_seconds=PATIENCE_SECONDS))
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not workshop.gateway.calls:
                await asyncio.sleep(0.005)
        workshop.hypervisor.set_power(VM, "off")
        assert (await stopping)["stopped_by"] == "agent"

    run(scenario)


def test_a_reboot_is_done_when_the_agent_is_back_from_another_boot(run: Run) -> None:
    async def scenario(workshop: Workshop) -> None:
        await linked(workshop)
        rebooting = asyncio.create_task(workshop.power("guest_reboot", wait_seconds=PATIENCE_SECONDS))
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not workshop.gateway.calls:
                await asyncio.sleep(0.005)
        await linked(workshop)  # the link broke and came back, within the same boot
        await asyncio.sleep(0.1)
        assert not rebooting.done()
        await linked(workshop, "boot-2")
        result = await rebooting
        assert (result["boot_id"], result["power_state"]) == ("boot-2", "on")

    run(scenario)


@pytest.mark.parametrize(("outcome", "said"), [("stays", "same boot"), ("leaves", "is not back"), ("off", "no-reboot")])
def test_a_reboot_that_does_not_end_says_what_was_seen(run: Run, outcome: str, said: str) -> None:
    async def scenario(workshop: Workshop) -> None:
        await linked(workshop)
        what: dict[str, Callable[[str, str], object]] = {
            "stays": lambda vm_uuid, method: None,
            "leaves": lambda vm_uuid, method: workshop.gateway.sessions.clear(),
            "off": lambda vm_uuid, method: workshop.hypervisor.set_power(vm_uuid, "off"),
        }
        workshop.gateway.obey = what[outcome]  # type: ignore[assignment]  # what it returns is nobody's business
        failed = await failure(workshop.power("guest_reboot"))
        assert failed.code == "GUEST_NOT_BACK" and said in failed.message

    run(scenario)


def test_what_the_adapter_cannot_do_is_refused_before_the_plug_is_pulled(run: Run) -> None:
    async def scenario(workshop: Workshop) -> None:
        workshop.hypervisor.guest(VM, cannot={"on": "nobody told how"})
        [seen] = await workshop.operations.hypervisor_vms(VM)
        assert seen["power_unsupported"] == {"on": "nobody told how"}
        refused = await failure(workshop.power("power_cycle"))
        assert (refused.code, refused.details["reason"]) == ("POWER_UNSUPPORTED", "nobody told how")
        assert (await power_state(workshop), workshop.hypervisor.done) == ("on", [])

    run(scenario)


def test_the_second_of_two_is_told_whom_it_would_race(run: Run) -> None:
    """F25: a second start is an error and changes nothing."""

    async def scenario(workshop: Workshop) -> None:
        workshop.hypervisor.guest(VM, ignores_acpi=True)
        first = await workshop.operations.power(VM, verb="shutdown", wait_seconds=PATIENCE_SECONDS, actor="alice")
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not workshop.hypervisor.done:
                await asyncio.sleep(0.005)
        second = await failure(workshop.power("off"))
        assert (second.code, second.details["holder"]) == ("VM_BUSY", "alice (shutdown)")
        await workshop.operations.enable(VM, {}, actor="test")
        assert (await failure(workshop.mount())).code == "VM_BUSY"
        workshop.hypervisor.set_power(VM, "off")
        assert (await workshop.result(first))["stopped_by"] == "acpi"
        assert workshop.hypervisor.done == ["shutdown"]
        assert (await workshop.power("on"))["changed"], "the first has let go"

    run(scenario)


def test_a_mounted_tools_iso_is_respected_unless_forced(run: Run) -> None:
    """F25."""

    async def scenario(workshop: Workshop) -> None:
        await workshop.operations.enable(VM, {}, actor="test")
        await workshop.mount()
        for verb in ("off", "shutdown", "reset", "power_cycle", "guest_shutdown", "guest_reboot"):
            busy = await failure(workshop.power(verb))
            assert (busy.code, busy.details["holder"]) == ("VM_BUSY", HOLDER), verb
        assert workshop.hypervisor.done == []
        assert not (await workshop.power("on"))["changed"]
        await workshop.power("off", force=True)
        await workshop.background.reconciler.settle_all()
        assert workshop.iso_files() == [] and workshop.store.mounts.get(VM) is None

    run(scenario)


def test_a_refresh_at_work_has_its_turn_before_the_plug_is_pulled(run: Run) -> None:
    """F25."""

    async def scenario(workshop: Workshop) -> None:
        async with workshop.parts.engine.exclusive(VM):  # as a task that rotates the agent's identity has it
            task = await workshop.operations.power(VM, verb="off", actor="test")
            async with asyncio.timeout(PATIENCE_SECONDS):
                while (await workshop.operations.task(task["task_id"]))["state"] != "running":
                    await asyncio.sleep(0.005)
            await asyncio.sleep(0.1)
            assert workshop.hypervisor.done == []
        await workshop.result(task)
        assert workshop.hypervisor.done == ["off"]

    run(scenario)


def test_disabling_does_not_wait_for_a_guest_that_takes_its_time(run: Run) -> None:
    """F32: revocation meets a power task."""

    async def scenario(workshop: Workshop) -> None:
        await linked(workshop)
        workshop.hypervisor.guest(VM, ignores_acpi=True)
        task = await workshop.operations.power(VM, verb="shutdown", wait_seconds=PATIENCE_SECONDS, actor="alice")
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not workshop.hypervisor.done:
                await asyncio.sleep(0.005)
        await workshop.operations.disable(VM, actor="test")
        assert (await workshop.operations.task(task["task_id"]))["state"] == "running"
        assert workshop.gateway.cuts == [(VM, "revoked")]

    run(scenario)


def test_the_same_key_asks_once(run: Run) -> None:
    async def scenario(workshop: Workshop) -> None:
        key = request_key("test", "k", "power", {"verb": "reset"})
        tasks = [await workshop.operations.power(VM, verb="reset", actor="test", key=key) for _ in range(3)]
        assert len({task["task_id"] for task in tasks}) == 1
        await workshop.result(tasks[0])
        assert workshop.hypervisor.done == ["reset"]

    run(scenario)


@pytest.mark.parametrize(("fault", "verb"), [("lost", "off"), ("never", "off"), ("refused", "reset")])
def test_a_hypervisor_that_answers_badly_is_looked_at(run: Run, fault: Any, verb: str) -> None:
    async def scenario(workshop: Workshop) -> None:
        workshop.hypervisor.faults["power"] = fault
        if fault == "lost":
            assert (await workshop.power(verb))["power_state"] == "off"
        else:
            assert (await failure(workshop.power(verb))).code == "HYPERVISOR_FAILED"
            assert await power_state(workshop) == "on"

    run(scenario)


def test_a_hypervisor_that_says_done_and_shows_another_state_is_not_believed(run: Run) -> None:
    async def scenario(workshop: Workshop) -> None:
        workshop.hypervisor.guest(VM, boots_to="paused")
        assert (await failure(workshop.power("on"))).code == "HYPERVISOR_FAILED"

    run(scenario, "off")


def test_random_races_of_power_mount_and_disable_leave_everything_in_order(run: Run) -> None:
    """F25: whatever is asked for at once, each ends well or with a code, and nothing is half done."""
    choose = random.Random(20261125)
    legal = {"VM_BUSY", "VM_POWERED_OFF", "NOT_ENROLLED", "LINK_NOT_ACTIVE", "ACPI_IGNORED", "NO_EMPTY_DRIVE"}
    legal |= {"GUEST_NOT_BACK", "GUEST_STILL_RUNS"}

    async def attempt(call: Awaitable[Any]) -> str:
        try:
            await call
        except OpenNGTError as exc:
            return exc.code
        return "done"

    async def scenario(workshop: Workshop) -> None:
        seen: set[str] = set()
        for _ in range(60):
            workshop.hypervisor.guest(VM, ignores_acpi=choose.random() < 0.3)
            calls: list[Callable[[], Awaitable[Any]]] = [
                *(lambda verb=verb: workshop.power(verb, wait_seconds=0.05) for verb in choose.sample(VERBS, 2)),  # type: ignore[misc]
                lambda: workshop.operations.enable(VM, {}, actor="test"),
                workshop.mount,
                workshop.eject,
                lambda: workshop.power("on"),
                lambda: workshop.operations.disable(VM, actor="test"),
            ]
            seen |= set(await asyncio.gather(*(attempt(call()) for call in choose.sample(calls, 4))))
            assert not workshop.parts.engine._claims and not workshop.parts.engine.busy(VM)
            await workshop.background.reconciler.settle_all()
            held = workshop.store.mounts.get(VM)
            assert held is None or held.phase == "mounted"
            assert len(workshop.iso_files()) == (held is not None)
        assert seen - {"done"} <= legal, seen
        assert {"done", "VM_BUSY"} <= seen

    run(scenario)
