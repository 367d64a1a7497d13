# SPDX-License-Identifier: GPL-3.0-or-later
"""An agent that speaks of another VM (T19): who it is follows from its certificate, whatever its messages say."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from tests.fakes.agent_client import HELLO
from tests.fakes.waiting import PATIENCE_SECONDS

from openngt.errors import OpenNGTError
from openngt_service.gateway.session import _METHODS, State

from .conftest import Identity, World

Play = Callable[[Callable[[], Any]], None]
# What the service reads of each method; a new method without a row here fails below.
PARAMS: dict[str, dict[str, Any]] = {
    "hello": HELLO,
    "heartbeat": {"disc_mounted": True},
    "status": {"status": {"hostname": "web02"}},
    "goodbye": {"reason": "stopping"},
}
# What the service asks an agent for; not a method of an agent, and so of nobody's who claims to be the service.
OF_THE_SERVICE = ["identity.rotate", "identity.request", "capabilities.set", "guest.shutdown", "guest.reboot"]


def claims(own: Identity, other: Identity) -> list[dict[str, Any]]:
    """Every field by which a message could say that it comes from the other VM, or is meant for it."""
    names = {
        "vm_uuid": other.vm_uuid,
        "ngt_uuid": other.ngt_uuid,
        "serial": f"{other.serial:x}",
        "session": "0" * 16,
        "vm": other.vm_uuid,
        "target": other.vm_uuid,
    }
    return [{name: value} for name, value in names.items()] + [names]


def vms_told(w: World, kind: str) -> set[str]:
    return {event[0].vm_uuid for event in w.events.of(kind)}


def test_every_method_of_an_agent_is_tried() -> None:
    assert set(PARAMS) == {method for methods in _METHODS.values() for method in methods}
    assert set(_METHODS) == set(State)


@pytest.mark.parametrize("method", [*PARAMS, *OF_THE_SERVICE])
@pytest.mark.parametrize("place", ["params", "message", "status"])
@pytest.mark.parametrize("asked", [True, False], ids=["request", "notification"])
def test_no_message_touches_another_vm_whatever_ids_it_carries(
    world: Any, method: str, place: str, asked: bool
) -> None:
    async def attack(w: World, own: Identity, claim: dict[str, Any]) -> None:
        agent = await w.connect(own)
        assert (await agent.read() or {})["method"] == "welcome"
        if method != "hello":
            agent.send({"jsonrpc": "2.0", "id": 1, "method": "hello", "params": HELLO})
            await agent.read()
        params = dict(PARAMS.get(method, {}))
        message: dict[str, Any] = {"jsonrpc": "2.0", "method": method, "params": params}
        if place == "status":
            params["status"] = {**params.get("status", {}), **claim}
        else:
            (params if place == "params" else message).update(claim)
        agent.send({**message, "id": 2} if asked else message)
        agent.send({"jsonrpc": "2.0", "id": 3, "method": "no.such.method", "params": {}})
        while (answer := await agent.read()) is not None and answer.get("id") != 3:
            pass
        agent.close()

    async def scenario() -> None:
        async with world(accepts_burst=10_000) as w:
            own, other = w.enrol(), w.enrol()
            victim = await w.agent(other)
            before = w.gateway.session(other.vm_uuid)
            w.events.told.clear()
            for claim in claims(own, other):
                await attack(w, own, claim)
            await w.until(lambda: w.gateway.session(own.vm_uuid) is None)
            assert w.gateway.session(other.vm_uuid) == before
            for kind in ("link_up", "link_down", "status", "heartbeat", "clock"):
                assert other.vm_uuid not in vms_told(w, kind), kind
            if method != "hello" or asked:
                assert own.vm_uuid in vms_told(w, "link_up"), "the attacker did get in, as itself"
            assert (await victim.ask("heartbeat", {"disc_mounted": False}))["result"] == {}

    asyncio.run(asyncio.wait_for(scenario(), 2 * PATIENCE_SECONDS))


@pytest.mark.parametrize("answer", [{"result": {}}, {"error": {"code": -1, "message": "no"}}], ids=["result", "error"])
def test_a_call_to_one_vm_cannot_be_answered_by_another(play: Play, world: Any, answer: dict[str, Any]) -> None:
    async def scenario() -> None:
        async with world() as w:
            own, other = w.enrol(), w.enrol()
            attacker, victim = await w.agent(own), await w.agent(other)
            call = asyncio.create_task(w.gateway.call(other.vm_uuid, "identity.rotate", {"generation": 2}))
            asked = await victim.read()
            assert asked is not None
            attacker.send({"jsonrpc": "2.0", "id": asked["id"], **answer})
            assert await attacker.closed(), "an answer to nothing that this session was asked"
            assert w.events.refusals() == ["bad_frame"] and not call.done()
            victim.send({"jsonrpc": "2.0", "id": asked["id"], "result": {"generation": 2}})
            assert await call == {"generation": 2}

    play(scenario)


def test_an_answer_from_an_earlier_session_of_the_same_vm_answers_nothing(play: Play, world: Any) -> None:
    async def scenario() -> None:
        async with world() as w:
            identity = w.enrol()
            first = await w.agent(identity)
            lost = asyncio.create_task(w.gateway.call(identity.vm_uuid, "capabilities.set", {}))
            asked = await first.read()
            assert asked is not None
            second = await w.agent(identity)
            with pytest.raises(OpenNGTError) as failure:
                await lost
            assert (failure.value.code, failure.value.details["outcome"]) == ("LINK_NOT_ACTIVE", "unknown")
            second.send({"jsonrpc": "2.0", "id": asked["id"], "result": {}})
            assert await second.closed()

    play(scenario)
