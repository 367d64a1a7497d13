# SPDX-License-Identifier: GPL-3.0-or-later
"""Capabilities that are changed on an enrolled VM: at a connected agent at once, at any other at its next hello."""

import asyncio
from pathlib import Path

import pytest
from tests.fakes.workshop import VM, Workshop, open_workshop

from openngt.errors import OpenNGTError
from openngt_service.ports import SessionInfo

OFF = {"vss_snapshot": False, "self_service_restore": True}
BOTH = {"vss_snapshot": True, "self_service_restore": True}


async def linked(workshop: Workshop) -> SessionInfo:
    [issued] = await workshop.operations.issue_batch([{"vm_uuid": VM}], actor="test")
    session = await workshop.gateway.connect((issued["private_key_pem"] + issued["certificate_pem"]).encode())
    assert isinstance(session, SessionInfo)
    return session


async def enrolled(workshop: Workshop) -> None:
    workshop.hypervisor.add(VM, "web1", {"ide0": None})
    await workshop.operations.enable(VM, {}, actor="test")


async def change(workshop: Workshop) -> dict[str, object]:
    record, created = await workshop.operations.enable(VM, {"vss_snapshot": False}, actor="test")
    assert not created
    return dict(record)


def told(workshop: Workshop) -> list[object]:
    return [params["capabilities"] for _, method, params in workshop.gateway.calls if method == "capabilities.set"]


def test_a_connected_agent_is_told_and_the_record_shows_that_it_has_taken_them(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_workshop(tmp_path) as workshop:
            await enrolled(workshop)
            await linked(workshop)
            assert (await workshop.operations.vm(VM))["agent_capabilities"] == BOTH
            record = await change(workshop)
            assert told(workshop) == [OFF]
            assert (record["vss_snapshot"], record["agent_capabilities"]) == (False, OFF)
            await change(workshop)
            assert told(workshop) == [OFF], "what is known is not told again"

    asyncio.run(main())


def test_an_agent_that_is_away_hears_of_it_at_its_next_hello(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_workshop(tmp_path) as workshop:
            await enrolled(workshop)
            assert (await change(workshop))["agent_capabilities"] is None
            await linked(workshop)
            assert told(workshop) == []
            assert (await workshop.operations.vm(VM))["agent_capabilities"] == OFF

    asyncio.run(main())


@pytest.mark.parametrize("code", ["AGENT_TIMED_OUT", "METHOD_BLOCKED"])
def test_an_agent_that_does_not_take_them_shows_and_is_asked_again_unless_it_was_forbidden(
    tmp_path: Path, code: str
) -> None:
    async def main() -> None:
        async with open_workshop(tmp_path) as workshop:
            now = 1000.0
            workshop.background.announcer._clock = lambda: now
            await enrolled(workshop)
            await linked(workshop)
            workshop.gateway.failure = OpenNGTError(code, "no")
            record = await change(workshop)
            assert (record["vss_snapshot"], record["agent_capabilities"]) == (False, BOTH)
            workshop.gateway.failure = None
            for passed in (1, 31, 32):
                now = 1000.0 + passed
                workshop.background.announcer.retry()
                await asyncio.sleep(0.01)
            taken = (await workshop.operations.vm(VM))["agent_capabilities"]
            if code == "METHOD_BLOCKED":
                assert (told(workshop), taken) == ([OFF], BOTH)
                await linked(workshop)
                assert (await workshop.operations.vm(VM))["agent_capabilities"] == OFF
            else:
                assert (told(workshop), taken) == ([OFF, OFF], OFF)

    asyncio.run(main())
