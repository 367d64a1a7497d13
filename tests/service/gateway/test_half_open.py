# SPDX-License-Identifier: GPL-3.0-or-later
"""A call over a connection that has gone half open (F19)."""

import asyncio
from typing import Any

import pytest
from tests.fakes.agent_client import AgentClient
from tests.fakes.relay import Relay
from tests.fakes.waiting import PATIENCE_SECONDS

from openngt.errors import OpenNGTError

from .conftest import SERVICE_NAME


def test_a_call_in_flight_says_that_its_outcome_is_unknown(world: Any) -> None:
    async def scenario() -> None:
        async with world(heartbeat_seconds=1) as w:
            identity = w.enrol()
            with Relay(w.gateway.port) as relay:
                agent = await AgentClient.connect(relay.port, w.pki.client(identity), SERVICE_NAME)
                await agent.start()
                relay.lose()
                with pytest.raises(OpenNGTError) as failure:
                    await w.gateway.call(identity.vm_uuid, "guest.shutdown", {}, timeout=PATIENCE_SECONDS)
                assert failure.value.code == "LINK_NOT_ACTIVE" and failure.value.details["outcome"] == "unknown"
                await w.until(lambda: [reason for _, reason in w.events.of("link_down")] == ["heartbeat_timeout"])
                agent.close()

    asyncio.run(asyncio.wait_for(scenario(), 2 * PATIENCE_SECONDS))
