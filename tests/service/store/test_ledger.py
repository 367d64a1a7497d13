# SPDX-License-Identifier: GPL-3.0-or-later
"""The allow-list behind every handshake: states, promotion, revocation, adoption, and what survives a restart."""

import asyncio
import datetime
import subprocess
from pathlib import Path

import pytest

from openngt import effects
from openngt.errors import OpenNGTError
from openngt.pki.authority import Authority
from openngt.pki.issue import VmCertificateRequest, issue_vm_certificate
from openngt.pki.issue_log import IssueLog, IssueRecord, RevocationRecord
from openngt_service.ports import Accepted, Refused
from openngt_service.store.ledger import Issued, IssueRequest
from openngt_service.store.opening import Store
from openngt_service.store.registry import Capabilities

from .conftest import OpenStore

VM = "6f1c0c2e-9d3a-4d0e-8a55-0c6a1f0b7e21"
OTHER = "6f1c0c2e-9d3a-4d0e-8a55-0c6a1f0b7e22"
DAY = datetime.timedelta(days=1)


async def enrol(store: Store, vm_uuid: str = VM) -> None:
    await store.registry.enable(vm_uuid, f"vm-{vm_uuid[-2:]}", Capabilities(), actor="test")


async def issue(store: Store, vm_uuid: str = VM, **values: object) -> Issued:
    request = IssueRequest(vm_uuid, "link", 1000 * DAY, **values)  # type: ignore[arg-type]  # a test's shorthand
    [issued] = await store.ledger.issue([request], actor="test")
    return issued


def verdict(store: Store, issued: Issued, after: datetime.timedelta = datetime.timedelta(0)) -> str:
    """The state that is accepted, or the reason of the refusal."""
    judged = store.ledger.judge(issued.entry.serial, effects.now() + after)
    return judged.state if isinstance(judged, Accepted) else judged.reason


def test_the_time_of_the_first_use_is_kept(opened: OpenStore) -> None:
    async def main() -> None:
        async with opened() as store:
            await enrol(store)
            issued = await issue(store)
            assert issued.entry.first_used_at is None
            before = effects.now()
            await store.ledger.promote(issued.entry.serial)
            await store.ledger.promote(issued.entry.serial)
            used = store.ledger.entry(issued.entry.serial)
            assert used is not None and used.first_used_at is not None
            assert before <= used.first_used_at <= effects.now()
        async with opened() as store:
            assert store.ledger.entry(issued.entry.serial) == used

    asyncio.run(main())


def test_first_use_promotes_and_retires_the_one_before(opened: OpenStore) -> None:
    async def main() -> None:
        async with opened() as store:
            await enrol(store)
            first, second = await issue(store), None
            await store.ledger.promote(first.entry.serial)
            second = await issue(store)
            assert (verdict(store, first), verdict(store, second)) == ("current", "next")
            accepted = await store.ledger.promote(second.entry.serial)
            assert accepted == await store.ledger.promote(second.entry.serial), "idempotent"
            assert (accepted.state, accepted.generation, accepted.kind) == ("current", 2, "link")
            assert (verdict(store, first), verdict(store, second)) == ("retired", "current")
        async with opened() as store:
            assert (verdict(store, first), verdict(store, second)) == ("retired", "current"), "after a restart"

    asyncio.run(main())


def test_issuing_again_retires_a_next_that_was_not_used(opened: OpenStore) -> None:
    async def main() -> None:
        async with opened() as store:
            await enrol(store)
            first, second = await issue(store), await issue(store)
            assert (verdict(store, first), verdict(store, second)) == ("retired", "next")

    asyncio.run(main())


def test_in_a_batch_the_last_of_a_vm_is_next(opened: OpenStore) -> None:
    async def main() -> None:
        async with opened() as store:
            await enrol(store)
            await enrol(store, OTHER)
            requests = [IssueRequest(vm_uuid, "link", DAY) for vm_uuid in (VM, OTHER, VM)]
            issued = await store.ledger.issue(requests, actor="test")
            assert [verdict(store, item) for item in issued] == ["retired", "next", "next"]
            assert [item.entry.generation for item in issued] == [1, 1, 2]
        async with opened() as store:
            assert [verdict(store, item) for item in issued] == ["retired", "next", "next"]

    asyncio.run(main())


def test_what_the_ca_key_signed_elsewhere_is_unknown(opened: OpenStore, authority: Authority) -> None:
    async def main() -> None:
        async with opened() as store:
            await enrol(store)
            vm = store.registry.find(VM)
            forged = issue_vm_certificate(
                authority, VmCertificateRequest(VM, vm.ngt_uuid, 9, "link"), now=effects.now()
            )
            assert store.ledger.judge(int(forged.serial, 16), effects.now()) == Refused("unknown_serial")

    asyncio.run(main())


def test_expired_is_refused_even_if_tls_had_let_it_pass(opened: OpenStore) -> None:
    async def main() -> None:
        async with opened() as store:
            await enrol(store)
            issued = await issue(store)
            assert verdict(store, issued, after=999 * DAY) == "next"
            assert verdict(store, issued, after=1001 * DAY) == "expired"

    asyncio.run(main())


def test_revoking_tells_the_listeners_after_it_is_denied(opened: OpenStore) -> None:
    async def main() -> None:
        async with opened() as store:
            await enrol(store)
            issued = await issue(store)
            told: list[tuple[str, frozenset[int], str]] = []
            store.ledger.on_revoked(lambda vm, serials: told.append((vm, serials, verdict(store, issued))))
            await store.ledger.revoke(VM, actor="test")
            assert told == [(VM, frozenset({issued.entry.serial}), "revoked")]
            with pytest.raises(OpenNGTError) as failure:
                await store.ledger.promote(issued.entry.serial)
            assert failure.value.code == "AUTHENTICATION_FAILED"

    asyncio.run(main())


def test_a_vm_that_comes_back_keeps_old_serials_denied_and_its_generation_rising(opened: OpenStore) -> None:
    """T18."""

    async def main() -> None:
        async with opened() as store:
            await enrol(store)
            before = await issue(store)
            await store.ledger.promote(before.entry.serial)
            await store.ledger.revoke(VM, actor="test", disable=True)
            assert store.registry.get(VM) is None
            with pytest.raises(OpenNGTError) as failure:
                await issue(store)
            assert failure.value.code == "NOT_ENROLLED"
        async with opened() as store:
            assert verdict(store, before) == "revoked"
            await enrol(store)
            after = await issue(store)
            assert (verdict(store, before), verdict(store, after)) == ("revoked", "next")
            assert after.entry.generation > before.entry.generation
            assert after.entry.ngt_uuid != before.entry.ngt_uuid

    asyncio.run(main())


def test_a_vm_disabled_while_its_certificate_is_signed_gets_none(opened: OpenStore) -> None:
    async def main() -> None:
        async with opened() as store:
            await enrol(store)
            issuing = asyncio.create_task(issue(store))
            await asyncio.sleep(0)  # it has been found enrolled, and is at the signers
            await store.ledger.revoke(VM, actor="test", disable=True)
            await enrol(store)
            outcome = (await asyncio.gather(issuing, return_exceptions=True))[0]
            refused = isinstance(outcome, OpenNGTError) and outcome.code == "NOT_ENROLLED"
            # Which comes first is chance; that an earlier life's certificate never opens a later one is not.
            assert refused or (isinstance(outcome, Issued) and verdict(store, outcome) == "revoked")

    asyncio.run(main())


def test_many_at_once_never_share_a_serial_or_a_generation(opened: OpenStore) -> None:
    async def main() -> None:
        async with opened() as store:
            await enrol(store)
            issued = await asyncio.gather(*(issue(store) for _ in range(50)))
            assert len({item.entry.serial for item in issued}) == 50
            assert sorted(item.entry.generation for item in issued) == list(range(1, 51))
            states = [verdict(store, item) for item in issued]
            assert states.count("next") == 1 and states.count("retired") == 49

    asyncio.run(main())


def test_issuing_refuses_a_clock_that_went_back(opened: OpenStore) -> None:
    """T16."""

    async def main() -> None:
        async with opened() as store:
            await enrol(store)
            await issue(store)
        async with opened() as store:
            request = IssueRequest(VM, "link", DAY)
            now = effects.now()
            await store.ledger.issue([request], actor="test", now=now - datetime.timedelta(minutes=4))
            with pytest.raises(OpenNGTError) as failure:
                await store.ledger.issue([request], actor="test", now=now - datetime.timedelta(minutes=6))
            assert failure.value.code == "CLOCK_WENT_BACK"

    asyncio.run(main())


def test_openssl_agrees_with_what_was_issued(opened: OpenStore, authority: Authority, tmp_path: Path) -> None:
    async def main() -> Issued:
        async with opened() as store:
            await enrol(store)
            return await issue(store, manifest_sha256="ab" * 32)

    issued = asyncio.run(main())
    (tmp_path / "ca.pem").write_bytes(authority.certificate_pem)
    (tmp_path / "leaf.pem").write_bytes(issued.certificate.certificate_pem)
    command = ["openssl", "verify", "-purpose", "sslclient", "-CAfile", tmp_path / "ca.pem", tmp_path / "leaf.pem"]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    show = ["openssl", "x509", "-noout", "-serial", "-ext", "subjectAltName", "-in", tmp_path / "leaf.pem"]
    text = subprocess.run(show, capture_output=True, text=True, check=True).stdout
    assert f"{issued.entry.serial:X}" in text
    assert f"urn:openngt:vm:{VM}" in text and "urn:openngt:manifest:sha256:abab" in text


def test_a_caller_with_its_own_key_gets_no_private_key(opened: OpenStore, tmp_path: Path) -> None:
    key = tmp_path / "own.key"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", key], capture_output=True, check=True)
    public = subprocess.run(["openssl", "pkey", "-in", key, "-pubout"], capture_output=True, check=True).stdout

    async def main() -> None:
        async with opened() as store:
            await enrol(store)
            issued = await issue(store, public_key_pem=public)
            assert issued.certificate.private_key_pem is None

    asyncio.run(main())


def record(vm_uuid: str, generation: int, serial: str, ngt_uuid: str = OTHER, days: int = 100) -> IssueRecord:
    now = effects.now()
    return IssueRecord(
        serial, vm_uuid, ngt_uuid, "old", generation, "link", now - DAY, now + days * DAY, "0" * 64, now - DAY
    )


def test_adopting_an_issue_log_enrols_its_vms_and_knows_their_serials(opened: OpenStore) -> None:
    log = IssueLog(
        issued=(record(VM, 1, "a1"), record(VM, 2, "a2"), record(OTHER, 1, "b1"), record(OTHER, 2, "b2")),
        revocations=(RevocationRecord("b2", OTHER, effects.now()),),
    )

    async def main() -> None:
        async with opened() as store:
            adopted = await store.ledger.adopt(log, actor="test")
            assert (adopted.adopted, adopted.known) == (4, 0)
            again = await store.ledger.adopt(log, actor="test")
            assert (again.adopted, again.known) == (0, 4)
        async with opened() as store:
            judged = [store.ledger.judge(serial, effects.now()) for serial in (0xA1, 0xA2, 0xB1, 0xB2)]
            words = [item.state if isinstance(item, Accepted) else item.reason for item in judged]
            assert words == ["retired", "current", "retired", "revoked"]
            assert isinstance(judged[1], Accepted) and judged[1].kind == "external"
            assert store.registry.find(VM).ngt_uuid == OTHER
            issued = await issue(store)
            assert issued.entry.generation == 3, "the counter goes on"

    asyncio.run(main())


def test_adopting_does_not_touch_what_the_service_has_issued(opened: OpenStore) -> None:
    async def main() -> None:
        async with opened() as store:
            await enrol(store)
            ours = await issue(store)
            await store.ledger.promote(ours.entry.serial)
            await store.ledger.adopt(IssueLog(issued=(record(VM, 7, "c7"),)), actor="test")
            assert verdict(store, ours) == "current"
            assert store.ledger.judge(0xC7, effects.now()) == Refused("retired", VM)
            assert store.registry.find(VM).ngt_uuid == ours.entry.ngt_uuid
            assert (await issue(store)).entry.generation == 8

    asyncio.run(main())


def test_adopting_cannot_bring_a_disabled_vm_back(opened: OpenStore) -> None:
    async def main() -> None:
        async with opened() as store:
            await enrol(store)
            await store.ledger.revoke(VM, actor="test", disable=True)
            await store.ledger.adopt(IssueLog(issued=(record(VM, 7, "c7"),)), actor="test")
            assert store.registry.get(VM) is None
            await enrol(store)
            assert isinstance(store.ledger.judge(0xC7, effects.now()), Refused)

    asyncio.run(main())


def test_a_revocation_in_an_issue_log_cuts_a_session_of_the_service(opened: OpenStore) -> None:
    async def main() -> None:
        async with opened() as store:
            await store.ledger.adopt(IssueLog(issued=(record(VM, 1, "a1"),)), actor="test")
            told: list[str] = []
            store.ledger.on_revoked(lambda vm_uuid, serials: told.append(vm_uuid))
            revoked = IssueLog((record(VM, 1, "a1"),), (RevocationRecord("a1", VM, effects.now()),))
            await store.ledger.adopt(revoked, actor="test")
            assert store.ledger.judge(0xA1, effects.now()) == Refused("revoked", VM)
            assert told == [VM]

    asyncio.run(main())
