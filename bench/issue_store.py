# SPDX-License-Identifier: GPL-3.0-or-later
"""Durable certificates through the ledger: key, signature, row, audit row and fsync, before the caller has any of it.

Two loads: large batches, and many callers with one certificate each, who share commits. On the disk of the temporary
folder (TMPDIR): where an fsync is slow, choose the folder of the real database.
"""

import asyncio
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

from bench._issuers import rate_rows
from bench._rows import Row
from openngt.effects import now
from openngt.pki.authority import Authority, create_authority
from openngt_service.config import Settings
from openngt_service.store.ledger import IssueRequest
from openngt_service.store.opening import Store, open_store
from openngt_service.store.registry import Capabilities

VMS = 500
BATCH = 500
SECONDS = 4.0
CALLERS = 64
GOALS = {"batches of 500": 2000, "64 callers at once": 500}


def requests(count: int) -> list[IssueRequest]:
    return [IssueRequest(str(uuid.UUID(int=1 + n % VMS)), "link", timedelta(days=1000)) for n in range(count)]


async def rate(issue: Callable[[], Awaitable[int]]) -> float:
    """Certificates a second, until the time is up."""
    await issue()
    begin, done = time.perf_counter(), 0
    while time.perf_counter() - begin < SECONDS:
        done += await issue()
    return done / (time.perf_counter() - begin)


async def ours(store: Store) -> tuple[float, float]:
    for n in range(VMS):
        await store.registry.enable(str(uuid.UUID(int=1 + n)), f"vm{n}", Capabilities(), actor="bench")
    one_each = [requests(CALLERS)[n : n + 1] for n in range(CALLERS)]

    async def batch() -> int:
        return len(await store.ledger.issue(requests(BATCH), actor="bench"))

    async def callers() -> int:
        answers = await asyncio.gather(*(store.ledger.issue(request, actor="bench") for request in one_each))
        return sum(len(answer) for answer in answers)

    rates = await rate(batch), await rate(callers)
    assert (await store.audit.verify()).problem is None, "what was counted is on record"
    return rates


def measure(folder: Path, authority: Authority) -> tuple[float, float]:
    async def main() -> tuple[float, float]:
        store = open_store(Settings(state_dir=folder), authority)
        try:
            return await ours(await store.load())
        finally:
            store.close()

    return asyncio.run(main())


def rows() -> list[Row]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rates = measure(folder, create_authority(folder / "ca", common_name="bench", now=now()))
    result = []
    for (load, least), value in zip(GOALS.items(), rates, strict=True):
        result += rate_rows(f"issue certificates, durable, ledger included: {load}", value, least)
    return result
