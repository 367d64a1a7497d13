# SPDX-License-Identifier: GPL-3.0-or-later
"""The link's fields: live in memory, on disk when something changed."""

import asyncio
import datetime
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
from tests.fakes.workshop import VM, Workshop, open_workshop

from openngt import effects
from openngt_service.ports import SessionInfo

Transport = Literal["tls", "serial"]
HOLD = datetime.timedelta(minutes=50)
NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


def session(name: str, generation: int = 2) -> SessionInfo:
    return SessionInfo(VM, VM, name, 7, generation, "link", "198.51.100.7:40000", "tls", NOW, "0.1.0")


async def enrol(workshop: Workshop) -> None:
    workshop.hypervisor.add(VM, "web1", {"ide0": None})
    await workshop.operations.enable("web1", {}, actor="test")


def test_a_late_goodbye_of_an_old_session_does_not_end_the_new_one(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_workshop(tmp_path) as workshop:
            await enrol(workshop)
            old, new = session("old"), session("new")
            capabilities = await workshop.links.link_up(old, {})
            assert capabilities == {"vss_snapshot": True, "self_service_restore": True}
            await workshop.links.link_up(new, {})
            await workshop.links.link_down(old, "replaced")
            assert workshop.links.view(VM).session == new
            assert [item.session for item in workshop.links.sessions()] == ["new"]
            await workshop.links.link_down(new, "goodbye")
            record = await workshop.operations.vm(VM)
            assert not record["communication_link_active"] and record["transport"] is None
            assert record["link"]["session"] is None and record["link"]["peer"] == "198.51.100.7:40000"

    asyncio.run(main())


def test_what_was_seen_last_survives_a_restart_and_nobody_is_connected_then(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_workshop(tmp_path) as workshop:
            await enrol(workshop)
            await workshop.links.link_up(session("one"), {"guest_os_name": "Debian"})
            await workshop.links.status(session("one"), {"guest_os_name": "Debian 13"})
            workshop.links.refused("retired", "198.51.100.7:1", VM, 9)
        async with open_workshop(tmp_path) as workshop:
            record = await workshop.operations.vm(VM)
            assert record["vm_info"] == {"guest_os_name": "Debian 13"} and record["agent_version"] == "0.1.0"
            assert record["link"]["last_refusal"]["reason"] == "retired"
            assert not record["communication_link_active"] and record["link"]["since"] == NOW

    asyncio.run(main())


def test_a_guests_clock_is_shown_while_its_session_lives(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_workshop(tmp_path) as workshop:
            await enrol(workshop)
            await workshop.links.link_up(session("one"), {})
            workshop.links.clock(session("one"), -61.27)
            workshop.links.clock(session("of an earlier life"), 5000.0)
            workshop.links.heartbeat(session("one"), None)
            assert (await workshop.operations.vm(VM))["link"]["clock_offset_seconds"] == -61.3
            await workshop.links.link_down(session("one"), "goodbye")
            assert (await workshop.operations.vm(VM))["link"]["clock_offset_seconds"] is None

    asyncio.run(main())


def test_one_identity_in_two_hands_is_remembered_also_after_a_restart(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_workshop(tmp_path) as workshop:
            await enrol(workshop)
            workshop.links.refused("retired", "203.0.113.9:1", VM, 8)
            assert workshop.store.sightings.all() == [], "nobody is linked: a reverted VM is no second one"
            await workshop.links.link_up(session("one"), {})
            for port in (1, 2, 3):
                workshop.links.refused("retired", f"203.0.113.9:{port}", VM, 8)
            workshop.links.refused("revoked", "203.0.113.9:1", VM, 8)
            workshop.links.used_twice(session("one"), replace(session("two"), peer="203.0.113.9:4"))
        async with open_workshop(tmp_path) as workshop:
            seen = {one.kind: one for one in workshop.store.sightings.all()}
            assert (seen["retired_serial"].times, seen["retired_serial"].peer) == (3, "203.0.113.9:3")
            assert (seen["retired_serial"].serial, seen["retired_serial"].other_peer) == ("8", "198.51.100.7:40000")
            assert (seen["second_machine"].times, seen["second_machine"].serial) == (1, "7")
            await workshop.store.sightings.flush(datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=31))
            assert workshop.store.sightings.all() == []

    asyncio.run(main())


def test_heartbeats_write_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_workshop(tmp_path) as workshop:
            await enrol(workshop)
            await workshop.links.link_up(session("one"), {})
            await workshop.links.flush()
            wal = (tmp_path / "openngt.db-wal").stat().st_size
            before = workshop.links.view(VM).row.last_seen
            for _ in range(100):
                workshop.links.heartbeat(session("one"), None)
                await workshop.links.status(session("one"), {})
            await workshop.links.flush()
            assert (tmp_path / "openngt.db-wal").stat().st_size == wal
            after = workshop.links.view(VM).row.last_seen
            assert before is not None and after is not None and after >= before

    asyncio.run(main())


def test_what_a_heartbeat_says_of_the_disc_ends_with_the_link_and_its_time_stays(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_workshop(tmp_path) as workshop:
            await enrol(workshop)
            links = workshop.links
            await links.link_up(session("one"), {})
            links.heartbeat(session("one"), True)
            seen = links.view(VM).row.last_seen
            await links.status(session("one"), {"guest_os_name": "Debian"})
            assert links.view(VM).disc_mounted is True
            await links.link_down(session("one"), "goodbye")
            assert links.view(VM).disc_mounted is None and links.view(VM).row.last_seen == seen
        async with open_workshop(tmp_path) as workshop:
            assert workshop.links.view(VM).row.last_seen == seen
            links = workshop.links
            await links.link_up(session("two"), {})
            links.heartbeat(session("two"), True)
            await links.link_up(session("three"), {})
            assert links.view(VM).disc_mounted is None, "the new session has not said it"

    asyncio.run(main())


def test_refusals_of_nobody_leave_no_trace(tmp_path: Path) -> None:
    """Whoever knocks without a certificate of ours must not be able to fill the database."""

    async def main() -> None:
        async with open_workshop(tmp_path) as workshop:
            for _ in range(100):
                workshop.links.refused("no_certificate", "203.0.113.9:1", None, None)
                workshop.links.refused("unknown_serial", "203.0.113.9:1", "no-such-vm", 1)
            assert not workshop.links._views and not workshop.links._dirty

    asyncio.run(main())


def test_the_record_says_how_a_vm_is_linked_and_whether_its_guest_sees_the_port(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_workshop(tmp_path) as workshop:
            await enrol(workshop)
            workshop.hypervisor.start(VM)
            over_port = replace(session("one"), transport="serial", peer="serial port 1")
            await workshop.links.link_up(over_port, {"serial_port": {"device": "/dev/ttyS1", "state": "present"}})
            record = await workshop.operations.vm(VM)
            assert record["communication_link_active"] and record["communication_link_over_serial_port_active"]
            assert (record["communication_type"], record["serial_port"]) == ("kFallbackToIP", "ready")

            await workshop.links.link_up(session("two"), {"serial_port": {"device": None, "state": "absent"}})
            record = await workshop.operations.vm(VM)
            assert record["communication_link_active"] and not record["communication_link_over_serial_port_active"]
            assert record["serial_port"] == "needs_full_stop_and_start", "the hypervisor has it, the guest does not"

            assert record["serial_port_held_until"] is None, "an agent from before does not say"
            workshop.hypervisor.faults["find"] = "refused"
            record = await workshop.operations.vm(VM)
            assert (record["communication_type"], record["serial_port"]) == ("kFallbackToIP", "unknown")

    asyncio.run(main())


@pytest.mark.parametrize(
    ("transport", "said", "told"),
    [
        ("tls", lambda now: now + HOLD, True),
        ("tls", lambda now: now - HOLD, False),
        ("tls", lambda now: now + 3 * HOLD, False),
        ("serial", lambda now: now + HOLD, False),
        ("tls", lambda now: "tomorrow", False),
        ("tls", lambda now: 17, False),
        ("tls", lambda now: "2026-11-21T08:00:00", False),
    ],
)
def test_the_record_says_until_when_a_port_is_not_returned_to(
    tmp_path: Path, transport: Transport, said: Callable[[datetime.datetime], Any], told: bool
) -> None:
    """By the service's clock, and never what no agent can mean."""

    async def main() -> None:
        async with open_workshop(tmp_path) as workshop:
            await enrol(workshop)
            now = effects.now().replace(microsecond=0)
            until = said(now)
            text = until.isoformat().replace("+00:00", "Z") if isinstance(until, datetime.datetime) else until
            port = {"device": "/dev/ttyS1", "state": "present", "held_until": text}
            linked = replace(session("one"), transport=transport)
            await workshop.links.link_up(linked, {"serial_port": port})
            record = await workshop.operations.vm(VM)
            assert record["serial_port_held_until"] == (until if told else None)
            diagnosis = await workshop.operations.diagnosis(VM)
            assert ("SERIAL_PORT_HELD" in [other["cause"] for other in diagnosis["also"]]) == told
            assert diagnosis["cause"] == "LINK_ACTIVE" and all(other["remedy"] for other in diagnosis["also"])

    asyncio.run(main())
