# SPDX-License-Identifier: GPL-3.0-or-later
"""From the ISO's bootstrap identity to the long-lived one, and the ISO away at the end."""

import asyncio
import datetime
from collections.abc import Callable
from pathlib import Path

from tests.fakes.waiting import PATIENCE_SECONDS
from tests.fakes.workshop import VM, Workshop, open_workshop

from openngt import effects
from openngt.errors import OpenNGTError
from openngt.pki.inspect import inspect_certificate
from openngt_service.ports import Accepted, Refused, SessionInfo

USERS = "/isos/debian.iso"


async def mounted(workshop: Workshop) -> bytes:
    """`client.pem` as the guest reads it from its disc."""
    workshop.hypervisor.add(VM, "web1", {"ide0": USERS, "ide1": None})
    await workshop.operations.enable("web1", {"vss_snapshot": False}, actor="test")
    await workshop.mount()
    return on_disc(workshop)


def on_disc(workshop: Workshop) -> bytes:
    iso = workshop.parts.media.path(VM).read_bytes()
    begin, end = iso.index(b"-----BEGIN PRIVATE KEY-----"), b"-----END CERTIFICATE-----"
    return iso[begin : iso.index(end, begin) + len(end)]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():
            await asyncio.sleep(0.005)


async def tasks_of(workshop: Workshop, kind: str) -> list[dict[str, object]]:
    return [task for task in (await workshop.operations.tasks(VM))["items"] if task["kind"] == kind]


async def rotated(workshop: Workshop) -> SessionInfo:
    """An agent that came from its disc is back with what it was given."""
    assert isinstance(await workshop.gateway.connect(await mounted(workshop)), SessionInfo)
    await until(lambda: bool(workshop.gateway.calls))
    [(_, _, identity)] = workshop.gateway.calls
    session = await workshop.gateway.connect(identity["client_pem"].encode())
    assert isinstance(session, SessionInfo)
    return session


def test_a_bootstrap_session_is_handed_its_long_lived_identity(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_workshop(tmp_path) as workshop:
            session = await rotated(workshop)
            vm_uuid, method, identity = workshop.gateway.calls[0]
            assert (vm_uuid, method, identity["kind"]) == (VM, "identity.rotate", "link")
            certificate = inspect_certificate(identity["client_pem"].encode())
            assert certificate.generation == identity["generation"] == session.generation == 2
            assert certificate.not_after - effects.now() > datetime.timedelta(days=999)
            assert certificate.manifest_sha256 is None
            assert identity["config"]["generation"] == 2 and identity["config"]["cluster_ip"] == "192.0.2.10"
            assert identity["config"]["capabilities"] == {"vss_snapshot": False, "self_service_restore": True}
            record = await workshop.operations.vm(VM)
            assert record["certificate"]["kind"] == "link" and record["certificate"]["state"] == "current"
            assert record["communication_link_active"] and record["transport"] == "tls"

    asyncio.run(main())


def test_the_key_on_the_disc_opens_nothing_once_the_new_one_was_used(tmp_path: Path) -> None:
    """T3."""

    async def main() -> None:
        async with open_workshop(tmp_path) as workshop:
            await rotated(workshop)
            assert await workshop.gateway.connect(on_disc(workshop)) == Refused("retired", VM)
            refusal = (await workshop.operations.vm(VM))["link"]["last_refusal"]
            assert refusal["reason"] == "retired"

    asyncio.run(main())


def test_the_disc_goes_when_the_guest_has_let_go_of_it_for_a_while_and_not_before(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_workshop(tmp_path) as workshop:
            now = 1000.0
            workshop.background.rotation._clock = lambda: now
            session = await rotated(workshop)
            for passed, disc_mounted in ((0, False), (10, False), (14, True), (20, False), (34, None), (34, False)):
                now = 1000.0 + passed
                workshop.links.heartbeat(session, disc_mounted)
            assert not workshop.background.rotation._under_way, "14 s at most in one go"
            now = 1035.0
            for _ in range(5):
                workshop.links.heartbeat(session, False)
            await until(lambda: workshop.iso_files() == [] and workshop.store.mounts.get(VM) is None)
            assert workshop.hypervisor.media() == [USERS]
            assert len(await tasks_of(workshop, "eject")) == 1, "however many heartbeats said so"

    asyncio.run(main())


def test_a_session_from_before_the_mount_does_not_end_it(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_workshop(tmp_path) as workshop:
            now = 1000.0
            workshop.background.rotation._clock = lambda: now
            session = await rotated(workshop)
            await workshop.eject()
            await workshop.mount()  # the agent is connected, the guest has not mounted the new disc yet
            workshop.links.heartbeat(session, False)
            now = 2000.0
            workshop.links.heartbeat(session, False)
            assert not workshop.background.rotation._under_way
            assert workshop.store.mounts.get(VM) is not None

    asyncio.run(main())


def test_an_answer_that_got_lost_leaves_both_identities_good(tmp_path: Path) -> None:
    """F5: whichever the agent has, it is accepted."""

    async def main() -> None:
        async with open_workshop(tmp_path) as workshop:
            first = await mounted(workshop)
            workshop.gateway.failure = OpenNGTError("LINK_NOT_ACTIVE", "the link ended before the agent answered")
            await workshop.gateway.connect(first)
            await until(lambda: bool(workshop.gateway.calls))
            second = workshop.gateway.calls[0][2]["client_pem"].encode()
            for client_pem in (first, second):
                serial = int(inspect_certificate(client_pem).serial, 16)
                assert isinstance(workshop.store.ledger.judge(serial, effects.now()), Accepted)

    asyncio.run(main())


def test_an_agent_that_refused_is_asked_again_but_not_at_once(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_workshop(tmp_path) as workshop:
            now = 1000.0
            workshop.background.rotation._clock = lambda: now
            workshop.gateway.failure = OpenNGTError("AGENT_FAILED", "disk full")
            await workshop.gateway.connect(await mounted(workshop))
            await until(lambda: bool(workshop.gateway.calls) and not workshop.background.rotation._under_way)
            workshop.background.rotation.retry()
            await asyncio.sleep(0.05)
            assert len(workshop.gateway.calls) == 1
            now = 1040.0
            workshop.gateway.failure = None
            workshop.background.rotation.retry()
            await until(lambda: len(workshop.gateway.calls) == 2)
            assert workshop.gateway.calls[1][2]["generation"] == 3

    asyncio.run(main())


def test_bootstrap_hours_0_gives_the_disc_the_full_life(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_workshop(tmp_path, bootstrap_hours=0, validity_days=400) as workshop:
            certificate = inspect_certificate(await mounted(workshop))
            assert certificate.not_after - effects.now() > datetime.timedelta(days=399)

    asyncio.run(main())
