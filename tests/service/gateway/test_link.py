# SPDX-License-Identifier: GPL-3.0-or-later
"""A good agent's life, from the handshake to the end, over real TLS."""

import asyncio
import datetime
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from openngt.errors import OpenNGTError

Play = Callable[[Callable[[], Any]], None]
GOLDEN = Path(__file__).resolve().parents[2] / "fakes/messages/0.1"


def golden(name: str) -> dict[str, Any]:
    return dict(json.loads((GOLDEN / f"{name}.json").read_text())["message"])


def test_an_agent_is_welcomed_greeted_and_its_heartbeats_are_answered(play: Play, world: Any) -> None:
    async def scenario() -> None:
        async with world() as w:
            identity = w.enrol(generation=7)
            agent = await w.connect(identity)
            assert await agent.start() == w.events.capabilities
            assert agent.welcome["generation"] == 7 and agent.welcome["kind"] == "link"
            assert (await agent.ask("heartbeat", {"disc_mounted": True}))["result"] == {}
            [(info, status)] = w.events.of("link_up")
            assert (info.vm_uuid, info.serial) == (identity.vm_uuid, identity.serial)
            assert info.session == agent.welcome["session"] and status == {"hostname": "web01"}
            assert w.events.of("heartbeat") == [(info, True)]
            assert w.gateway.session(identity.vm_uuid) == info
            assert w.metric("connected") == 1 and w.metric("accepted_total") == 1
            assert w.metric("heartbeats_total") == 1 and w.metric("handshake_seconds_count") == 1
            agent.close()
            await w.until(lambda: w.events.of("link_down"))
            assert w.gateway.session(identity.vm_uuid) is None and w.metric("connected") == 0

    play(scenario)


def test_first_use_of_a_next_serial_promotes_it_before_the_agent_is_welcomed(play: Play, world: Any) -> None:
    async def scenario() -> None:
        async with world() as w:
            old = w.enrol()
            new = w.enrol(old.vm_uuid, generation=2, state="next")
            agent = await w.agent(new)
            assert w.ledger.promoted == [new.serial] and agent.welcome["generation"] == 2
            assert w.ledger.rows[old.serial].state == "retired"

    play(scenario)


def test_without_a_durable_promotion_nobody_is_welcomed(play: Play, world: Any) -> None:
    async def scenario() -> None:
        async with world() as w:
            w.ledger.broken = True
            agent = await w.connect(w.enrol(state="next"))
            assert await agent.read() is None
            assert w.events.refusals() == ["ledger_failed"]

    play(scenario)


def test_calls_reach_the_agent_and_bring_back_its_result_or_its_error(play: Play, world: Any) -> None:
    async def scenario() -> None:
        async with world() as w:
            identity = w.enrol()
            agent = await w.agent(identity)
            call = asyncio.create_task(w.gateway.call(identity.vm_uuid, "identity.rotate", {"generation": 2}))
            request = await agent.read()
            assert request["method"] == "identity.rotate" and request["params"] == {"generation": 2}
            agent.send({"jsonrpc": "2.0", "id": request["id"], "result": {"generation": 2}})
            assert await call == {"generation": 2}

            call = asyncio.create_task(w.gateway.call(identity.vm_uuid, "capabilities.set", {}))
            request = await agent.read()
            error = {"code": -32001, "message": "disk full", "data": {"code": "NO_SPACE"}}
            agent.send({"jsonrpc": "2.0", "id": request["id"], "error": error})
            with pytest.raises(OpenNGTError) as caught:
                await call
            assert caught.value.code == "AGENT_FAILED"
            assert caught.value.details["agent_reason"] == "NO_SPACE"
            assert w.metric("calls_total", method="capabilities.set", outcome="AGENT_FAILED") == 1

    play(scenario)


@pytest.mark.parametrize(
    ("answer", "code", "said"),
    [
        ("guest-shutdown-blocked", "METHOD_BLOCKED", "the guest's administrator has blocked guest.shutdown"),
        ("guest-shutdown-unknown", "AGENT_TOO_OLD", "the agent 0.1.0 does not know guest.shutdown"),
    ],
)
def test_a_blocked_method_and_an_agent_that_lacks_it_have_codes_of_their_own(
    play: Play, world: Any, answer: str, code: str, said: str
) -> None:
    """T39: the refusal of the guest's administrator is visible on the host's side."""

    async def scenario() -> None:
        async with world() as w:
            identity = w.enrol()
            agent = await w.agent(identity)
            call = asyncio.create_task(w.gateway.call(identity.vm_uuid, "guest.shutdown", {}))
            request = await agent.read()
            agent.send({**golden(answer), "id": request["id"]})
            with pytest.raises(OpenNGTError) as caught:
                await call
            assert (caught.value.code, caught.value.message) == (code, said)

    play(scenario)


def test_a_call_made_while_hello_is_being_written_down_goes_out_after_its_answer(play: Play, world: Any) -> None:
    async def scenario() -> None:
        async with world() as w:
            identity = w.enrol(kind="bootstrap")
            w.events.gate = asyncio.Event()
            agent = await w.connect(identity)
            starting = asyncio.create_task(agent.start())
            await w.until(lambda: w.events.of("link_up"))
            call = asyncio.create_task(w.gateway.call(identity.vm_uuid, "identity.rotate", {}))
            await asyncio.sleep(0)
            w.events.gate.set()
            await starting
            request = await agent.read()
            agent.send({"jsonrpc": "2.0", "id": request["id"], "result": {}})
            assert await call == {}

    play(scenario)


def test_a_late_answer_is_dropped_and_the_call_has_an_unknown_outcome(play: Play, world: Any) -> None:
    async def scenario() -> None:
        async with world() as w:
            identity = w.enrol()
            agent = await w.agent(identity)
            with pytest.raises(OpenNGTError) as caught:
                await w.gateway.call(identity.vm_uuid, "capabilities.set", {}, timeout=0.05)
            assert caught.value.code == "AGENT_TIMED_OUT" and caught.value.details["outcome"] == "unknown"
            request = await agent.read()
            agent.send({"jsonrpc": "2.0", "id": request["id"], "result": {}})
            assert (await agent.ask("heartbeat", {"disc_mounted": False}))["result"] == {}

    play(scenario)


def test_a_call_to_nobody_or_to_one_who_leaves_says_whether_it_may_have_been_carried_out(
    play: Play, world: Any
) -> None:
    async def scenario() -> None:
        async with world() as w:
            identity = w.enrol()
            with pytest.raises(OpenNGTError) as caught:
                await w.gateway.call(identity.vm_uuid, "capabilities.set", {})
            assert (caught.value.code, caught.value.details["outcome"]) == ("LINK_NOT_ACTIVE", "not_sent")
            agent = await w.agent(identity)
            call = asyncio.create_task(w.gateway.call(identity.vm_uuid, "capabilities.set", {}))
            await agent.read()
            agent.close()
            with pytest.raises(OpenNGTError) as caught:
                await call
            assert (caught.value.code, caught.value.details["outcome"]) == ("LINK_NOT_ACTIVE", "unknown")

    play(scenario)


def test_cut_ends_the_live_session_at_once_and_the_revoked_serial_does_not_come_back(play: Play, world: Any) -> None:
    async def scenario() -> None:
        async with world() as w:
            identity = w.enrol()
            agent = await w.agent(identity)
            w.ledger.set_state(identity.serial, "revoked")
            assert w.gateway.cut(identity.vm_uuid, "vm_deleted") is True
            assert w.gateway.session(identity.vm_uuid) is None
            assert await agent.read() is None
            assert not w.gateway.cut(identity.vm_uuid, "vm_deleted")
            again = await w.connect(identity)
            assert await again.read() is None
            assert w.events.refusals() == ["revoked"]
            assert [reason for _, reason in w.events.of("link_down")] == ["vm_deleted"]

    play(scenario)


def test_the_newest_session_of_a_machine_wins(play: Play, world: Any) -> None:
    async def scenario() -> None:
        async with world() as w:
            identity = w.enrol()
            older = await w.agent(identity)
            newer = await w.agent(identity)
            assert await older.read() == {"jsonrpc": "2.0", "method": "goodbye", "params": {"reason": "superseded"}}
            assert await older.read() is None
            assert (await newer.ask("heartbeat", {}))["result"] == {}
            assert w.gateway.session(identity.vm_uuid).session == newer.welcome["session"]
            told = [kind for kind, *_ in w.events.told if kind in ("link_up", "link_down")]
            assert told == ["link_up", "link_down", "link_up"], "a store sees the end of the one before the other"
            assert w.metric("superseded_total", boot="same") == 1 and w.metric("connected") == 1
            assert w.events.of("used_twice") == []

    play(scenario)


def test_a_guests_clock_is_compared_at_hello_and_whenever_it_is_told(play: Play, world: Any) -> None:
    async def scenario() -> None:
        async with world() as w:
            agent = await w.agent(w.enrol(), time="2000-01-01T00:00:00Z")
            [(info, offset)] = w.events.of("clock")
            assert info.session == agent.welcome["session"] and offset < -(20 * 365 * 86400)
            ahead = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1)
            await agent.ask("heartbeat", {"time": ahead.isoformat()})
            await agent.ask("heartbeat", {})
            [_, (_, offset)] = w.events.of("clock")
            assert 3500 < offset <= 3600

    play(scenario)


def test_two_missed_heartbeats_end_a_session_and_the_agent_cannot_hold_it_with_half_a_frame(
    play: Play, world: Any
) -> None:
    async def scenario() -> None:
        async with world(heartbeat_seconds=1, frame_seconds=0.3) as w:
            silent, unfinished = await w.agent(), await w.agent()
            unfinished.send_raw(b"\0\0\1\0{")
            assert await silent.read() is None and await unfinished.read() is None
            assert {reason for _, reason in w.events.of("link_down")} == {"heartbeat_timeout", "frame_timeout"}
            assert w.metric("heartbeat_timeouts_total") == 1
            assert w.metric("refused_total", reason="frame_timeout") == 1

    play(scenario)


def test_a_session_ends_when_the_service_cannot_write_it_down(play: Play, world: Any) -> None:
    async def scenario() -> None:
        async with world() as w:
            w.events.failure = OpenNGTError("INTERNAL", "the database is out of reach")
            agent = await w.connect(w.enrol())
            with pytest.raises(AssertionError, match="closed instead of answering hello"):
                await agent.start()
            await w.until(lambda: w.events.of("link_down"))
            w.events.failure = None
            await w.still_serves()

    play(scenario)


def test_stop_says_goodbye_and_cuts_those_who_do_not_listen(play: Play, world: Any) -> None:
    async def scenario() -> None:
        async with world() as w:
            polite, stubborn = await w.agent(), await w.agent()
            stubborn.writer.transport.pause_reading()
            port = w.gateway.port
            await w.gateway.stop()
            assert await polite.read() == {"jsonrpc": "2.0", "method": "goodbye", "params": {"reason": "stopping"}}
            assert await polite.read() is None
            assert [reason for _, reason in w.events.of("link_down")] == ["stopping", "stopping"]
            with pytest.raises(OSError):
                await asyncio.open_connection("127.0.0.1", port)

    play(scenario)


def test_stop_lets_a_call_in_flight_end(play: Play, world: Any) -> None:
    async def scenario() -> None:
        async with world() as w:
            identity = w.enrol()
            agent = await w.agent(identity)
            call = asyncio.create_task(w.gateway.call(identity.vm_uuid, "capabilities.set", {}))
            request = await agent.read()
            stopping = asyncio.create_task(w.gateway.stop())
            await asyncio.sleep(0)
            agent.send({"jsonrpc": "2.0", "id": request["id"], "result": {"done": True}})
            assert await call == {"done": True}
            await stopping

    play(scenario)


def test_a_port_in_use_is_a_conflict(play: Play, world: Any) -> None:
    async def scenario() -> None:
        async with world() as w, world() as other:
            taken = type(other.gateway)(
                type(other.gateway._settings)("c", "v", host="127.0.0.1", port=w.gateway.port),
                other.gateway.context,
                other.ledger,
                other.events,
                other.gateway.metrics,
            )
            with pytest.raises(OpenNGTError) as caught:
                await taken.start()
            assert caught.value.code == "SERVICE_CONFLICT"

    play(scenario)


def test_one_identity_holds_only_so_many_connections_and_the_live_one_is_not_the_victim(play: Play, world: Any) -> None:
    async def scenario() -> None:
        async with world() as w:
            identity = w.enrol()
            live = await w.agent(identity)
            idle = [await w.connect(identity) for _ in range(5)]
            assert [await connection.closed() for connection in idle[:3]] == [True] * 3
            assert (await live.ask("heartbeat", {}))["result"] == {}

    play(scenario)
